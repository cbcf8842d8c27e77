"""What a comparison says in sentences."""

import numpy as np
import pytest

from persyn.reporting.comparison import BASE, Comparison, ComparisonRow, DataFacts, StudentFacts
from persyn.reporting.verdict import sentences
from persyn.students.comparison import Difference, difference

DATA = DataFacts(400, 0, 1000, None, 1.0, -1.0, 1.0, 20.0, 0.0, 0.0)
RNG = np.random.default_rng(0)
HARD = RNG.random(300)  # what each problem takes


def students(skill: float, seeds: int = 3, *, leaks: int = 0, unanswered: int = 0) -> StudentFacts:
    values = (skill + RNG.normal(0, 0.02, (seeds, 1)) > HARD[None, :] + RNG.normal(0, 0.1, (seeds, 300))).astype(float)
    return StudentFacts(
        [*range(seeds)], [*range(seeds)], Difference(float(values.mean()), 0, 1, 1), unanswered, leaks, values
    )


def row(label: str, facts: StudentFacts | None, own: StudentFacts | None = None, trained: int = 3) -> ComparisonRow:
    if facts is not None and own is not None:
        facts = facts._replace(difference=difference(facts.values, own.values, paired=facts.seeds == own.seeds))
    return ComparisonRow(label, label if label == "persyn" else f"run.{label}", label, DATA, 1.0, trained, facts)


def told(*rows: ComparisonRow, same: bool = True, is_share: bool = True) -> str:
    base = ComparisonRow(BASE, None, None, None, None, 0)
    return " ".join(sentences(Comparison("run", "persyn", "exam", 300, is_share, [base, *rows], same)))


def test_who_is_ahead_is_said_with_the_interval() -> None:
    own = students(0.3)
    said = told(row("persyn", own), row("strong", students(0.7), own))
    assert "strong is ahead of persyn by " in said
    assert "points (" in said
    assert "to see 3.0 points in 4 of 5 studies takes about " in said
    assert "the observed " in said
    own = students(0.7)
    assert "persyn is ahead of strong by " in told(row("persyn", own), row("strong", students(0.3), own))


def test_students_that_do_alike_are_no_finding() -> None:
    own = students(0.5)
    said = told(row("persyn", own), row("mix", own, own))
    assert "No difference is seen between persyn and mix." in said
    assert "on average the two do the same" in said


def test_one_seed_tells_nothing_of_another_training() -> None:
    own = students(0.5, 1)
    said = told(row("persyn", own, trained=1), row("mix", students(0.5, 1), own, trained=1))
    assert "With one student of persyn and mix, nothing is known about another training" in said
    assert "--seed 1 and --seed 2" in said


def test_what_weakens_a_result_is_said() -> None:
    own = students(0.5, leaks=4, unanswered=2)
    said = told(row("persyn", own), row("mix", students(0.5), own), same=False)
    assert "2 answers are missing or unmeasured, and count as wrong." in said
    assert "Up to 4 of the problems are like what a policy's students learnt" in said
    assert "different hyperparameters" in said


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("persyn", None, trained=0)], "Next: `persyn student train persyn`."),
        ([row("persyn", None, trained=0)], "`persyn run run --policy strong` makes another policy's set"),
        ([row("persyn", None, trained=2)], "`persyn student examine run --prompts exam`"),
        ([row("persyn", students(0.5))], "Only persyn has examined students"),
        ([row("persyn", None, trained=0), row("mix", students(0.5))], "own policy persyn has no examined student"),
    ],
)
def test_it_says_what_to_do_next(rows: list[ComparisonRow], sentence: str) -> None:
    assert sentence in told(*rows)


def test_a_mean_quality_has_no_points() -> None:
    own = students(0.3)
    said = told(row("persyn", own), row("strong", students(0.7), own), is_share=False)
    assert "points" not in said
