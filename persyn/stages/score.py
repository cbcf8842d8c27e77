"""Stage 2, scoring: which answers still need a score, what a scorer must read, and how its values are stored."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from persyn import jobs
from persyn.chat import Answered
from persyn.jobs.wake_ups import SCORE
from persyn.states import Stage

# Every (generation, scorer) of the run without a score. A prompt's answers stand side by side, and an answer's measures
# of learnability: the student reads the prompt once for them all. Nothing computes an imported score. The first half is
# the calibration set, every teacher's answer; the second the answers that the decisions name. A consensus is found once
# no job may bring another answer that votes: those of all teachers, or the second opinion.
_CALIBRATION = """
SELECT r.id AS run_id, 'score' AS kind, CAST(:queues AS text) || s.kind AS queue, CAST(:stage AS int) AS stage,
       CAST(NULL AS bigint) AS prompt_id, CAST(NULL AS bigint) AS teacher_id, 0 AS sample_index, g.id AS generation_id,
       s.id AS scorer_id
FROM run r
JOIN calibration_prompt c ON c.run_id = r.id
JOIN run_teacher rt ON rt.run_id = r.id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
JOIN run_scorer rs ON rs.run_id = r.id
JOIN scorer s ON s.id = rs.scorer_id AND s.method <> 'imported'
WHERE r.id = :run_id AND NOT EXISTS (SELECT FROM score x WHERE x.generation_id = g.id AND x.scorer_id = s.id)
  AND (s.method <> 'consensus' OR NOT EXISTS (
      SELECT FROM run_teacher voter
      JOIN job j ON j.kind = 'generate' AND j.run_id = voter.run_id AND j.teacher_id = voter.teacher_id
                AND j.prompt_id = c.prompt_id AND j.sample_index = 0
      WHERE voter.run_id = r.id AND j.state IN ('ready', 'leased')))
ORDER BY s.kind, CASE s.kind WHEN 'quality' THEN s.id END, g.prompt_id, g.id, s.id
"""

_ROUTED = """
SELECT r.id AS run_id, 'score' AS kind, CAST(:queues AS text) || s.kind AS queue, CAST(:stage AS int) AS stage,
       CAST(NULL AS bigint) AS prompt_id, CAST(NULL AS bigint) AS teacher_id, 0 AS sample_index, g.id AS generation_id,
       s.id AS scorer_id
FROM run r
JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index < d.samples
JOIN run_scorer rs ON rs.run_id = r.id
JOIN scorer s ON s.id = rs.scorer_id AND s.method <> 'imported'
WHERE r.id = :run_id AND NOT EXISTS (SELECT FROM score x WHERE x.generation_id = g.id AND x.scorer_id = s.id)
  AND (s.method <> 'consensus' OR NOT EXISTS (
      SELECT FROM audit.opinion o
      JOIN job j ON j.kind = 'generate' AND j.run_id = o.run_id AND j.teacher_id = o.teacher_id
                AND j.prompt_id = o.prompt_id AND j.sample_index = 0
      WHERE o.run_id = r.id AND o.prompt_id = d.prompt_id AND j.state IN ('ready', 'leased')))
ORDER BY s.kind, CASE s.kind WHEN 'quality' THEN s.id END, g.prompt_id, g.id, s.id
"""

_ITEMS = text("""
SELECT g.id, p.messages, p.reference_answer, g.text AS answer, p.tools, g.tool_calls
FROM generation g JOIN prompt p ON p.id = g.prompt_id WHERE g.id = ANY(:ids)
""")

# The first answer of each other teacher that votes: of all on a calibration prompt, else of the second opinion and
# the teachers that were asked before. What is no answer has no vote, nor has a call, which gives no final answer.
_VOTES = text("""
SELECT j.id AS job_id, t.name AS teacher, o.text AS answer, of_voter.state IN ('ready', 'leased') AS awaited
FROM job j
JOIN scorer s ON s.id = j.scorer_id AND s.method = 'consensus'
JOIN run r ON r.id = j.run_id
JOIN generation g ON g.id = j.generation_id
JOIN run_teacher rt ON rt.run_id = r.id AND rt.teacher_id <> g.teacher_id
JOIN teacher t ON t.id = rt.teacher_id
LEFT JOIN generation o ON o.prompt_id = g.prompt_id AND o.teacher_id = t.id AND o.sample_index = 0
LEFT JOIN job of_voter ON of_voter.kind = 'generate' AND of_voter.run_id = r.id AND of_voter.teacher_id = t.id
                      AND of_voter.prompt_id = g.prompt_id AND of_voter.sample_index = 0
WHERE j.id = ANY(:ids) AND o.tool_calls IS NULL AND coalesce(o.flaw, 'cut') = 'cut'
  AND (o.id IS NOT NULL OR of_voter.state IN ('ready', 'leased'))
  AND (EXISTS (SELECT FROM calibration_prompt c
               WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = g.prompt_id)
       OR EXISTS (SELECT FROM audit.opinion x
                  WHERE x.run_id = r.id AND x.prompt_id = g.prompt_id AND x.teacher_id = t.id)
       OR EXISTS (SELECT FROM routing_decision before
                  JOIN routing_decision own ON own.run_id = before.run_id AND own.policy = before.policy
                                           AND own.prompt_id = before.prompt_id AND own.attempt > before.attempt
                  WHERE before.run_id = r.id AND before.policy = r.policy AND before.prompt_id = g.prompt_id
                    AND before.teacher_id = t.id AND own.teacher_id = g.teacher_id))
ORDER BY j.id, rt.position
""")

_INSERT = text("""
INSERT INTO score (generation_id, scorer_id, value, detail, job_id, lease_id)
VALUES (:generation_id, :scorer_id, :value, :detail, :job_id, :lease_id)
ON CONFLICT (generation_id, scorer_id) DO NOTHING
""").bindparams(bindparam("detail", type_=JSONB))


_CAME_LATER = text("""
SELECT count(*) FROM router r
JOIN calibration_prompt c ON c.run_id = r.run_id
JOIN run_teacher rt ON rt.run_id = r.run_id
JOIN run_scorer rs ON rs.run_id = r.run_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
JOIN score x ON x.generation_id = g.id AND x.scorer_id = rs.scorer_id AND x.created_at > r.created_at
WHERE r.run_id = :run_id
""")


class Item(NamedTuple):
    """One answer to be scored."""

    claim: jobs.Claim
    reference_answer: str | None
    answered: Answered
    votes: Mapping[str, str | None] = MappingProxyType({})  # of a consensus: answer by teacher; None: it is on its way


class Scored(NamedTuple):
    """A scorer's raw value for an item."""

    item: Item
    value: float
    detail: dict[str, Any]


class Unscored(NamedTuple):
    """An item that a scorer could not score, and why."""

    item: Item
    error: Exception


def enqueue_calibration(conn: Connection, run_id: int) -> int:
    """A job for each score that a calibration answer lacks; returns how many are new."""
    return jobs.enqueue(conn, _CALIBRATION, {"run_id": run_id, "stage": int(Stage.SCORE), "queues": SCORE})


def enqueue_routed(conn: Connection, run_id: int) -> int:
    """A job for each score that a routed answer lacks; returns how many are new."""
    return jobs.enqueue(conn, _ROUTED, {"run_id": run_id, "stage": int(Stage.SCORE_ROUTED), "queues": SCORE})


def came_later(conn: Connection, run_id: int) -> int:
    """The number of the run's calibration scores that were stored after its router had learned."""
    return int(conn.execute(_CAME_LATER, {"run_id": run_id}).scalar_one())


def items(conn: Connection, claims: Sequence[jobs.Claim]) -> list[Item]:
    """The answer of each claim with its prompt, in their order."""
    rows = {row.id: row for row in conn.execute(_ITEMS, {"ids": [claim.generation_id for claim in claims]})}
    votes: dict[int, dict[str, str | None]] = {claim.id: {} for claim in claims}
    for vote in conn.execute(_VOTES, {"ids": list(votes)}):
        votes[vote.job_id][vote.teacher] = None if vote.awaited and vote.answer is None else vote.answer
    pairs = [(claim, rows[claim.generation_id]) for claim in claims]
    return [
        Item(
            claim, row.reference_answer, Answered(row.messages, row.answer, row.tools, row.tool_calls), votes[claim.id]
        )
        for claim, row in pairs
    ]


def store(conn: Connection, lease_id: int, scored: Sequence[Scored]) -> int:
    """Complete the jobs and keep the values of those that were still this lease's. Raises LeaseLost."""
    accepted = jobs.complete(conn, lease_id, [one.item.claim.id for one in scored])
    rows = [
        {
            "generation_id": one.item.claim.generation_id,
            "scorer_id": one.item.claim.scorer_id,
            "value": one.value,
            "detail": one.detail,
            "job_id": one.item.claim.id,
            "lease_id": lease_id,
        }
        for one in scored
        if one.item.claim.id in accepted
    ]
    if rows:
        conn.execute(_INSERT, rows)
    return len(rows)
