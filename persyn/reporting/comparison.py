"""Policies side by side, as in the paper's Table 2: how good their sets are, and their students. Reads only.

A row is a policy of the run or of a run beside it. The newest student of each training seed stands for its policy.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, text

from persyn import runs, set_needs
from persyn.config import Policy, RunConfig
from persyn.config.examination import gives_shares
from persyn.errors import ConfigError, PersynError
from persyn.exports import choices, write
from persyn.exports.leaks import leaks
from persyn.reporting import examinations
from persyn.reporting.examinations import Floats, Papers
from persyn.students.comparison import Difference, difference, holm

if TYPE_CHECKING:
    from sqlalchemy import Engine

BASE = "base student"

_TRAINED = text("""
SELECT DISTINCT ON (t.run_id, t.policy, t.seed) t.run_id, t.policy, t.seed, t.model_id, t.settings_sha256
FROM student_training t WHERE t.run_id = ANY(:run_ids) AND t.model_id IS NOT NULL
ORDER BY t.run_id, t.policy, t.seed, t.id DESC
""")

# What the policy's decisions asked for, all attempts and samples. cost: null where a price or a count is not known.
_SPENT = """
WITH choice AS ({choices})
SELECT coalesce(sum(g.prompt_tokens + g.completion_tokens), 0) AS tokens,
       CASE WHEN count(*) = count((g.prompt_tokens * price.input + g.completion_tokens * price.output))
            THEN sum(g.prompt_tokens * price.input + g.completion_tokens * price.output) / 1000000 END AS cost
FROM choice c
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = c.teacher_id AND g.sample_index < c.samples
JOIN run r ON r.id = :run_id
JOIN run_teacher rt ON rt.run_id = r.id AND rt.teacher_id = c.teacher_id
CROSS JOIN LATERAL (
    SELECT CAST(given ->> 'input' AS numeric) AS input, CAST(given ->> 'output' AS numeric) AS output
    FROM (SELECT r.config #> ARRAY['teachers', CAST(rt.position AS text), 'endpoint', 'price'] AS given) prices) price
"""

_TAUGHT = text("""
SELECT avg(a.quality) AS quality, avg(a.learnability) AS learnability, avg(a.completion_tokens) AS answer_tokens,
       avg(CAST(lower(a.finish_reason) IN ('length', 'max_tokens', 'model_length') AS int)) AS cut,
       avg(checked.value) AS is_right, avg(CAST(checked.basis = 'nothing' AS int)) AS unparsed
FROM audit.answer a
LEFT JOIN LATERAL (
    SELECT x.value, x.detail ->> 'basis' AS basis
    FROM run_scorer rs
    JOIN scorer s ON s.id = rs.scorer_id AND s.method = 'math_verify'
    JOIN score x ON x.scorer_id = s.id AND x.generation_id = a.generation_id
    WHERE rs.run_id = a.run_id LIMIT 1) checked ON true
WHERE a.run_id = :run_id AND a.generation_id = ANY(:generation_ids)
""")


class DataFacts(NamedTuple):
    """The set that a policy makes; means over its rows."""

    rows: int  # answers that a student learns
    waiting: int  # prompts whose answers are still to come, or were never asked for
    tokens: int  # of the teachers, read and written, for all answers that the decisions name
    cost: float | None
    quality: float | None
    learnability: float | None
    is_right: float | None
    answer_tokens: float | None
    cut: float | None
    unparsed: float | None


class StudentFacts(NamedTuple):
    """The students of a policy on the set of problems."""

    seeds: list[int]
    model_ids: list[int]
    result: Difference  # from nothing: mean and interval
    unanswered: int
    leaks: int  # problems that one of them knows
    values: Floats  # (S, P)
    difference: Difference | None = None  # from the run's own policy's students; p adjusted for their number

    def as_json(self) -> dict[str, Any]:
        differs = self.difference
        told = self._asdict() | {"result": self.result._asdict(), "difference": differs and differs._asdict()}
        del told["values"]
        return told


class ComparisonRow(NamedTuple):
    """One policy, or the base student."""

    label: str
    run: str | None
    policy: str | None
    data: DataFacts | None
    relative_tokens: float | None  # the run's own policy is 1
    trained: int  # students, examined or not
    students: StudentFacts | None = None

    def as_json(self) -> dict[str, Any]:
        """All but the single problems."""
        told = self._asdict() | {"data": self.data and self.data._asdict()}
        if self.students is not None:
            told["students"] = self.students.as_json()
        return told


class Comparison(NamedTuple):
    """All rows; the base student is the first, the run's own policy the second."""

    run: str
    policy: str
    prompts: str | None  # the set of the examinations
    problems: int
    is_share: bool
    rows: list[ComparisonRow]
    same_settings: bool  # whether all students were trained by the same hyperparameters

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"rows": [row.as_json() for row in self.rows]}

    @property
    def own(self) -> ComparisonRow:
        return self.rows[1]

    @property
    def policies(self) -> list[ComparisonRow]:
        return self.rows[1:]


class _Trained(NamedTuple):
    run_id: int
    policy: Policy
    seed: int
    model_id: int
    settings_sha256: str


class _Problems(NamedTuple):
    ids: Sequence[int]
    missing: float  # the value of one without a measured answer


def compare(engine: "Engine", run: str, prompts: str | None = None) -> Comparison:
    """The run's policies side by side. Without `prompts` the one set on which students were examined, if there is one.

    Raises NotFound, ConfigError where several sets are there, and PersynError where there is nothing to show.
    """
    with engine.connect() as conn:
        beside = [runs.load(conn, run_id) for run_id in runs.beside(conn, runs.find(conn, run))]
        trained = [_Trained(*row) for row in conn.execute(_TRAINED, {"run_ids": [one.id for one in beside]})]
        prompts = _chosen_set(conn, prompts, [one.model_id for one in trained])
    own = beside[0]
    rows = _data_rows(engine, beside, trained)
    if all(row.data is None and not row.trained for row in rows):
        raise PersynError(
            f"Run {own.name} has no set and no student yet. `persyn run` takes it to its set, and"
            f" `persyn status {own.name}` shows how far it is."
        )
    rows = [ComparisonRow(BASE, None, None, None, None, 0), *rows]
    problems = 0
    if prompts is not None:
        with engine.connect() as conn:
            rows, problems = _with_students(conn, own, prompts, rows, trained, {one.name: one.id for one in beside})
    same = len({one.settings_sha256 for one in trained}) <= 1
    return Comparison(own.name, own.config.policy, prompts, problems, gives_shares(own.config), rows, same)


def _chosen_set(conn: Connection, prompts: str | None, model_ids: Sequence[int]) -> str | None:
    if prompts is not None:
        set_needs.find(conn, prompts)
        return prompts
    found = examinations.sets(conn, model_ids)
    if len(found) > 1:
        raise ConfigError(f"--prompts: students were examined on several sets; name one of {', '.join(found)}.")
    return found[0] if found else None


def _data_rows(engine: "Engine", beside: Sequence[runs.Run], trained: Sequence[_Trained]) -> list[ComparisonRow]:
    """A row for each policy that has something to show, and for the run's own in any case."""
    rows: list[ComparisonRow] = []
    for run in beside:
        taught = {one.policy for one in trained if one.run_id == run.id} - {run.config.policy}
        for policy in (run.config.policy, *sorted(taught)):
            data = _data(engine, run, policy)
            count = sum((one.run_id, one.policy) == (run.id, policy) for one in trained)
            is_own = run is beside[0] and policy == run.config.policy
            if is_own or data is not None or count:
                label = _label(beside[0].config, run.config, policy)
                if label in {row.label for row in rows}:
                    label = f"{label} ({run.name})"
                rows.append(ComparisonRow(label, run.name, policy, data, None, count))
    whole = rows[0].data.tokens if rows[0].data is not None else 0
    return [
        row._replace(relative_tokens=row.data.tokens / whole) if row.data is not None and whole else row for row in rows
    ]


def _label(own: RunConfig, other: RunConfig, policy: str) -> str:
    """The policy, and what else differs from the run."""
    told = [policy]
    if other.alpha != own.alpha:
        told.append(f"alpha {other.alpha:g}")
    if policy == own.policy and (other.rerouting is None) != (own.rerouting is None):
        told.append("not rerouted" if other.rerouting is None else "rerouted")
    return ", ".join(told)


def _data(engine: "Engine", run: runs.Run, policy: Policy) -> DataFacts | None:
    """None where the policy has no answer yet."""
    taught = write.taught(engine, run.id, policy)
    if not taught.generation_ids:
        return None
    with engine.connect() as conn:
        chosen = choices.of_policy(conn, run, policy)
        spent = conn.execute(text(_SPENT.format(choices=chosen.sql)), chosen.values(run.id)).one()
        means = conn.execute(_TAUGHT, {"run_id": run.id, "generation_ids": taught.generation_ids}).one()
    numbers = {key: None if value is None else float(value) for key, value in means._mapping.items()}
    cost = None if spent.cost is None else float(spent.cost)
    waiting = sum(
        number for reason, number in taught.missing.items() if reason in ("waiting", "not_asked", "not_routed")
    )
    return DataFacts(len(taught.generation_ids), waiting, int(spent.tokens), cost, **numbers)


def _with_students(
    conn: Connection, own: runs.Run, prompts: str, rows: Sequence[ComparisonRow], trained: Sequence[_Trained],
    run_ids: dict[str, int],
) -> tuple[list[ComparisonRow], int]:  # fmt: skip
    """The rows with their students' results, and the number of problems that all have answered."""
    found = examinations.papers(conn, prompts, [one.model_id for one in trained])
    everyone = [*found.students.values(), *([] if found.base is None else [found.base])]
    problems = sorted(set.intersection(*(set(paper.quality) for paper in everyone))) if everyone else []
    missing = examinations.worst(everyone, is_share=gives_shares(own.config))
    if not problems or np.isnan(missing):
        return list(rows), 0
    leaked = leaks(conn, set_needs.find(conn, prompts).id, list(found.students))
    results = []
    for row in rows:
        whose = [] if row.run is None else [
            one for one in trained
            if (one.run_id, one.policy) == (run_ids[row.run], row.policy) and one.model_id in found.students
        ]  # fmt: skip
        known = len({leak.prompt_id for one in whose for leak in leaked[one.model_id]})
        results.append(_result(row, whose, found, _Problems(problems, missing), known))
    return _with_differences(results), len(problems)


def _result(
    row: ComparisonRow, whose: Sequence[_Trained], found: Papers, problems: _Problems, leaked: int
) -> ComparisonRow:
    """The row with the mean of its students, or of the base; as it was where none was examined."""
    papers = [found.students[one.model_id] for one in whose]
    if row.run is None and found.base is not None:
        papers = [found.base]
    if not papers:
        return row
    values = np.stack([examinations.values(paper, problems.ids, problems.missing) for paper in papers])
    facts = StudentFacts(
        seeds=[one.seed for one in whose],
        model_ids=[one.model_id for one in whose],
        result=difference(values, np.zeros_like(values), paired=True),
        unanswered=sum(paper.unanswered for paper in papers),
        leaks=leaked,
        values=values,
    )
    return row._replace(students=facts)


def _with_differences(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """Each row's difference from the run's own policy, the p-values adjusted for their number (Holm)."""
    own = rows[1].students
    if own is None:
        return rows
    found = {
        place: difference(row.students.values, own.values, paired=row.students.seeds == own.seeds)
        for place, row in enumerate(rows)
        if row.students is not None and place != 1
    }
    adjusted = dict(zip(found, holm([one.p for one in found.values()]), strict=True))
    return [
        row if row.students is None or place not in found
        else row._replace(students=row.students._replace(difference=found[place]._replace(p=adjusted[place])))
        for place, row in enumerate(rows)
    ]  # fmt: skip
