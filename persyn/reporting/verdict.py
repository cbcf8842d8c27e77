"""A comparison of policies in sentences: who is ahead, what it would take to see more, and what to do next."""

from collections.abc import Mapping
from typing import NamedTuple

from persyn.reporting.comparison import Comparison, ComparisonRow, StudentFacts
from persyn.students.comparison import Difference, Effort, effort, variances

LEVEL = 0.05
POINTS = 0.03  # the difference in shares for which the size of a study is told
SET = "SET"  # in place of a set's name that is not known

Facts = Mapping[str, StudentFacts]


class _Rival(NamedTuple):
    """A policy that is compared with the run's own."""

    label: str
    facts: StudentFacts
    difference: Difference


def sentences(found: Comparison) -> list[str]:
    """For a person, in the order in which they matter."""
    examined = {row.label: row.students for row in found.policies if row.students is not None}
    if not examined:
        return _to_do(found)
    own = examined.get(found.own.label)
    rivals = [
        _Rival(label, facts, facts.difference) for label, facts in examined.items() if facts.difference is not None
    ]
    told = [_ahead(found, own, rivals), *_cautions(found, examined)]
    if own is not None and rivals:
        told.append(_effort(found, own, rivals))
    return told + _to_do(found)


def _ahead(found: Comparison, own: StudentFacts | None, rivals: list[_Rival]) -> str:
    label = found.own.label
    if own is None:
        return f"The run's own policy {label} has no examined student, so nothing is compared with it."
    if not rivals:
        return f"Only {label} has examined students, so there is no other policy to compare it with."
    seen = [rival for rival in rivals if rival.difference.p < LEVEL]
    parts = [_lead(found, rival) for rival in seen]
    unseen = [rival.label for rival in rivals if rival not in seen]
    if unseen:
        parts.append(f"No difference is seen between {label} and {_and(unseen)}.")
    return " ".join(parts)


def _lead(found: Comparison, rival: _Rival) -> str:
    mean, low, high, p = rival.difference
    first, second = (rival.label, found.own.label) if mean > 0 else (found.own.label, rival.label)
    low, high = (low, high) if mean > 0 else (-high, -low)
    return (
        f"{first} is ahead of {second} by {_shown(found, abs(mean))} ({_number(found, low)} to {_number(found, high)},"
        f" p = {p:.2g})."
    )


def _cautions(found: Comparison, examined: Facts) -> list[str]:
    told = []
    single = [label for label, facts in examined.items() if len(facts.seeds) == 1]
    if single:
        told.append(
            f"With one student of {_and(single)}, nothing is known about another training of the same rows, which may"
            " differ by more than what is seen here."
        )
    base = found.rows[0].students
    unanswered = sum(facts.unanswered for facts in examined.values()) + (base.unanswered if base else 0)
    if unanswered:
        counts = "wrong" if found.is_share else "the lowest quality"
        told.append(f"{unanswered:,} answers are missing or unmeasured, and count as {counts}.")
    leaks = max(facts.leaks for facts in examined.values())
    if leaks:
        told.append(f"Up to {leaks:,} of the problems are like what a policy's students learnt (--allow-leaks).")
    if not found.same_settings:
        told.append("The students were trained by different hyperparameters, which may be what is seen.")
    return told


def _effort(found: Comparison, own: StudentFacts, rivals: list[_Rival]) -> str:
    """The size of a study for the largest difference; of policies with the same seeds alone."""
    alike = [rival for rival in rivals if rival.facts.seeds == own.seeds]
    luck = None
    if alike:
        rival = max(alike, key=lambda one: abs(one.difference.mean))
        luck = variances(rival.facts.values - own.values)
    if luck is None:
        return (
            "How large a study must be is known once two policies have students of the same two seeds or more:"
            " `persyn student train` with --seed 1 and --seed 2."
        )
    told = [_study(found, POINTS, effort(luck, POINTS))] if found.is_share else []
    observed = abs(rival.difference.mean)
    if observed > 0:
        told.append(_study(found, observed, effort(luck, observed), "the observed "))
    else:
        told.append("on average the two do the same")
    return f"Between {rival.label} and {found.own.label}, {'; '.join(told)}."


def _study(found: Comparison, least: float, size: Effort | None, which: str = "") -> str:
    what = f"{which}{_shown(found, least)}"
    if size is None:
        return f"{what} cannot be seen with 20 seeds, however many problems"
    return f"to see {what} in 4 of 5 studies takes about {size.problems:,} problems and {size.seeds} seeds"


def _to_do(found: Comparison) -> list[str]:
    """The commands to type next."""
    told = []
    untrained = [row for row in found.policies if row.data is not None and not row.trained]
    if untrained:
        calls = [f"`persyn student train {row.run}`" for row in untrained]
        told.append(f"Without a student: {_and([row.label for row in untrained])}. Next: {_and(calls)}.")
    unseen = [row.label for row in found.policies if row.trained > _examined(row)]
    if unseen:
        told.append(
            f"Students of {_and(unseen)} are not examined yet. Next: `persyn student examine {found.run} --prompts"
            f" {found.prompts or SET}`, with problems that no student has seen."
        )
    if len(found.policies) == 1:
        told.append(f"`persyn run {found.run} --policy strong` makes another policy's set beside it.")
    return told


def _examined(row: ComparisonRow) -> int:
    return len(row.students.seeds) if row.students else 0


def _shown(found: Comparison, value: float) -> str:
    return f"{100 * value:.1f} points" if found.is_share else f"{value:.3g}"


def _number(found: Comparison, value: float) -> str:
    return f"{100 * value:.1f}" if found.is_share else f"{value:.3g}"


def _and(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
