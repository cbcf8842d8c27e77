"""Agreement between teachers as a verdict: how well it tells right answers from wrong ones by published verdicts.

A line of the data is a problem with `responses: {teacher: {text, quality}}`, quality 1 or 0. Final answers are found
and compared by the product's own scorer `consensus`; no reference answer is read. The best teacher is the one that is
right most often on all of the file, the opinion that of the second best, and so on.

- **all**: the share of all other teachers that agree with the best one's answer; agreement is a strict majority, its
  own teacher among it, the bar by which a run reroutes.
- **opinion of**: the same by one other teacher alone, as routed answers are judged.
- **AUC**: the chance that a right answer has a higher value than a wrong one, half of it where they are equal.
- **best alone**, **rerouted**, **all and their majority**: the share right of what would be exported. Rerouted: the
  second best gives the opinion; where it differs the third best is asked, then the fourth, three attempts in all, until
  one agrees with half of those before; the highest agreement is kept, of equal ones the first.

Intervals are 95%, over problems drawn with replacement.

    python -m benchmarks.consensus math_parallel.jsonl.gz --problems 600
"""

import argparse
import gzip
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.policies.rerouting import STOP
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.consensus import consensus_score

Floats = NDArray[np.float64]

DRAWS, ATTEMPTS, MAJORITY, ENDS = 2000, 3, 0.5, (0.025, 0.975)
MADE_UP = [("72", "72", "72"), ("72", "72", "5"), ("18", "72", "72"), ("18", "5", "72"), ("72", "18", "18")]


class Answers(NamedTuple):
    """P problems and M teachers, the best one first."""

    teachers: list[str]
    right: Floats  # (P, M) 1 or 0, as published
    agree: Floats  # (P, M, M) 1 where two final answers are the same, 0 where not; NaN where nobody can tell

    def by(self, voters: Sequence[int]) -> Floats:
        """(P,) the value of the best teacher's answer by these others; NaN where there is none."""
        return share(self.agree[:, 0, voters])


def share(votes: Floats) -> Floats:
    """(P,) the mean of (P, V) votes without those that nobody can tell."""
    known = ~np.isnan(votes)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, votes, 0.0).sum(axis=1) / known.sum(axis=1))


def auc(value: Floats, right: Floats, weight: Floats) -> float:
    """The chance that a right answer has a higher value than a wrong one, for (P,) values and weights."""
    levels, place = np.unique(value, return_inverse=True)
    of_right = np.bincount(place, weight * right, len(levels))
    of_wrong = np.bincount(place, weight * (1 - right), len(levels))
    below = np.cumsum(of_wrong) - of_wrong
    pairs = of_right.sum() * of_wrong.sum()
    return float((of_right * (below + of_wrong / 2)).sum() / pairs) if pairs else float("nan")


def share_right(chosen: Floats, right: Floats, weight: Floats) -> float:
    """The share of right answers among those that are chosen (P,)."""
    total = float((weight * chosen).sum())
    return float((weight * chosen * right).sum()) / total if total else float("nan")


def rerouted(right: Floats, agree: Floats) -> tuple[Floats, Floats]:
    """(P,) whether the answer that is kept is right, and how many answers were asked for, the opinion among them."""
    kept, answers = np.zeros(len(right)), np.zeros(len(right))
    order = [0, *range(2, right.shape[1])][:ATTEMPTS]
    for problem, votes in enumerate(agree):
        best, value, heard = STOP, -1.0, [1]
        for teacher in order:
            said = votes[teacher, heard]
            known = said[~np.isnan(said)]
            agreed = float(known.mean()) if known.size else 0.0
            if agreed > value:
                best, value = teacher, agreed
            heard.append(teacher)
            if agreed >= MAJORITY:
                break
        kept[problem], answers[problem] = right[problem, best], len(heard)
    return kept, answers


def majority(right: Floats, agree: Floats) -> Floats:
    """(P,) whether the answer is right with which most others agree, of equal ones the better teacher's."""
    teachers = np.arange(right.shape[1])
    others = agree.copy()
    others[:, teachers, teachers] = np.nan
    return np.asarray(right[np.arange(len(right)), np.nansum(others, axis=2).argmax(axis=1)])


def read(data: Path | None, problems: int, seed: int) -> Answers:
    """A random sample of the file with every pair of final answers compared."""
    records = list(_records(data))
    every = list(records[0]["responses"])
    mean = {name: np.mean([record["responses"][name]["quality"] for record in records]) for name in every}
    teachers = sorted(every, key=lambda name: -mean[name])
    if problems and problems < len(records):
        records = random.Random(seed).sample(records, problems)
    right = [[record["responses"][name]["quality"] for name in teachers] for record in records]
    texts = [[record["responses"][name]["text"] for name in teachers] for record in records]
    return Answers(teachers, np.array(right, dtype=np.float64), np.array([_compared(each) for each in texts]))


def _records(data: Path | None) -> Iterator[Mapping[str, Any]]:
    if data is None:
        for number in range(40):
            texts = zip("abc", MADE_UP[number % len(MADE_UP)], strict=True)
            yield {"responses": {name: {"text": f"It is {n}.", "quality": float(n == "72")} for name, n in texts}}
        return
    with gzip.open(data, "rt", encoding="utf-8") if data.suffix == ".gz" else data.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _compared(texts: Sequence[str]) -> Floats:
    found = np.eye(len(texts))
    for one, other in zip(*np.triu_indices(len(texts), k=1), strict=True):
        result = consensus_score(texts[one], {"other": texts[other]})
        unknown = np.nan if isinstance(result, Measurement) or result.code == "unchecked" else 0.0
        found[one, other] = found[other, one] = result.value if isinstance(result, Measurement) else unknown
    return found


class Told(NamedTuple):
    """The figures of one way to vote, each as text with its interval."""

    name: str
    cells: list[str]


def _row(name: str, value: Floats, right: Floats, seed: int) -> Told:
    known = ~np.isnan(value)
    value, right = value[known], right[known]
    agreed = (value >= MAJORITY).astype(np.float64)
    draws = np.random.default_rng(seed).multinomial(len(value), np.full(len(value), 1 / len(value)), DRAWS)
    measures = (
        lambda weight: float((weight * agreed).sum() / weight.sum()),
        lambda weight: share_right(agreed, right, weight),
        lambda weight: share_right(1 - agreed, right, weight),
        lambda weight: auc(value, right, weight),
    )
    cells = []
    for place, measure in enumerate(measures):
        digits = (lambda number: f"{number:.1%}") if place < 3 else (lambda number: f"{number:.3f}")
        drawn = [number for draw in draws if not math.isnan(number := measure(draw.astype(np.float64)))]
        ends = ", ".join(digits(end) for end in np.quantile(drawn, ENDS)) if drawn else ""
        cells.append(f"{digits(measure(np.ones(len(value))))} [{ends}]" if drawn else "")
    return Told(name, [*cells, str(int((~known).sum()))])


def _mean(values: Floats, seed: int) -> str:
    drawn = values[np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, ENDS)
    return f"{values.mean():.1%} [{low:.1%}, {high:.1%}]"


def table(answers: Answers, seed: int) -> str:
    """The three tables as Markdown."""
    right, others = answers.right, range(1, len(answers.teachers))
    rows = [_row("all", answers.by(others), right[:, 0], seed)]
    rows += [_row(f"opinion of {answers.teachers[one]}", answers.by([one]), right[:, 0], seed) for one in others]
    again, asked = rerouted(right, answers.agree)
    ways = [
        ("best alone", right[:, 0], 1.0),
        ("rerouted", again, float(asked.mean())),
        ("all and their majority", majority(right, answers.agree), float(len(answers.teachers))),
    ]
    every = [np.nanmean(share(np.delete(answers.agree[:, one], one, axis=1))) for one in range(len(answers.teachers))]
    head = ["verdict by", "agrees", "right where it agrees", "right where not", "AUC", "no verdict"]
    return "\n".join(
        [
            f"{len(right)} problems; the best teacher is {answers.teachers[0]}.\n",
            *_markdown(head, [[row.name, *row.cells] for row in rows]),
            "",
            *_markdown(
                ["", "right", "lead over the best alone", "answers a problem"],
                [
                    [name, _mean(values, seed), _mean(values - right[:, 0], seed), f"{number:.2f}"]
                    for name, values, number in ways
                ],
            ),
            "",
            *_markdown(
                ["teacher", "right", "value by all others"],
                [
                    [name, f"{of_right:.1%}", f"{value:.3f}"]
                    for name, of_right, value in zip(answers.teachers, right.mean(axis=0), every, strict=True)
                ],
            ),
        ]
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consensus")
    parser.add_argument("data", type=Path, nargs="?", help="answers of several teachers with published verdicts")
    parser.add_argument("--problems", type=int, default=600, help="drawn from all of the file; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(table(read(options.data, options.problems, options.seed), options.seed))


if __name__ == "__main__":
    main()
