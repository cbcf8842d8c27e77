"""Stage 5, generating: what to ask a teacher for a job, and how its answer is stored under the lease."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.config import Sampling
from persyn.jobs.wake_ups import TEACHER
from persyn.states import Stage

_OF_DECISIONS = """
SELECT d.run_id, 'generate' AS kind, CAST(:queues AS text) || t.name AS queue, CAST(:stage AS int) AS stage,
       d.prompt_id, d.teacher_id, sample.index AS sample_index, CAST(NULL AS bigint) AS generation_id,
       CAST(NULL AS bigint) AS scorer_id
FROM routing_decision d
CROSS JOIN LATERAL generate_series(0, d.samples - 1) AS sample (index)
JOIN run r ON r.id = d.run_id AND r.policy = d.policy
JOIN teacher t ON t.id = d.teacher_id
WHERE d.run_id = :run_id AND {of} AND NOT EXISTS (
    SELECT FROM generation g
    WHERE g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = sample.index)
ORDER BY d.teacher_id, d.prompt_id, sample.index
"""
_ROUTED = _OF_DECISIONS.format(of="true")
# Those of the last reroute job: each job's decisions are looked at before the next job is made.
_REROUTED = _OF_DECISIONS.format(
    of="d.attempt > 1 AND d.created_at >= ("
    "SELECT max(j.created_at) FROM job j WHERE j.run_id = d.run_id AND j.kind = 'reroute')"
)

_OPINIONS = """
SELECT o.run_id, 'generate' AS kind, CAST(:queues AS text) || o.teacher AS queue, CAST(:stage AS int) AS stage,
       o.prompt_id, o.teacher_id, 0 AS sample_index, CAST(NULL AS bigint) AS generation_id,
       CAST(NULL AS bigint) AS scorer_id
FROM audit.opinion o
WHERE o.run_id = :run_id AND NOT EXISTS (
    SELECT FROM generation g
    WHERE g.prompt_id = o.prompt_id AND g.teacher_id = o.teacher_id AND g.sample_index = 0)
ORDER BY o.teacher_id, o.prompt_id
"""

# One statement takes all rows as JSON. A statement a row took half as long again, and arrays were slower to write.
_COLUMNS = {
    "prompt_id": "bigint", "teacher_id": "bigint", "sample_index": "int", "text": "text", "reasoning": "text",
    "finish_reason": "text", "prompt_tokens": "int", "completion_tokens": "int", "seed": "bigint",
    "latency_s": "float8", "tool_calls": "jsonb", "server_version": "text", "job_id": "bigint",
}  # fmt: skip
_INSERT = text(f"""
INSERT INTO generation ({", ".join(_COLUMNS)}, lease_id)
SELECT answer.*, :lease_id
FROM json_to_recordset(CAST(:answers AS json))
     AS answer ({", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())})
ON CONFLICT (prompt_id, teacher_id, sample_index) DO NOTHING
""")


class GenerationRequest(NamedTuple):
    """One request to a teacher. Its seed is the prompt's or the sampling's own, so that asking again asks the same."""

    claim: jobs.Claim
    messages: list[dict[str, Any]]
    seed: int
    tools: list[dict[str, Any]] | None = None  # None where the prompt has nothing to do with tools


class NewGeneration(NamedTuple):
    """A teacher's answer on its way into the table."""

    request: GenerationRequest
    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    server_version: str | None
    tool_calls: list[dict[str, Any]] | None = None

    @property
    def size(self) -> int:
        """The bytes of its texts."""
        texts = (self.text, self.reasoning or "", json.dumps(self.tool_calls or "", ensure_ascii=False))
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


def enqueue(conn: Connection, run_id: int) -> int:
    """A job for each answer to a routed prompt that its teacher has not given yet; returns how many are new."""
    return jobs.enqueue(conn, _ROUTED, _values(run_id), all_new=True)


def enqueue_opinions(conn: Connection, run_id: int) -> int:
    """The same for the second answers that a consensus needs to routed prompts."""
    return jobs.enqueue(conn, _OPINIONS, _values(run_id))


def enqueue_rerouted(conn: Connection, run_id: int) -> int:
    """The same for the prompts that were rerouted last."""
    return jobs.enqueue(conn, _REROUTED, _values(run_id))


def _values(run_id: int) -> dict[str, Any]:
    return {"run_id": run_id, "stage": int(Stage.GENERATE), "queues": TEACHER}


def requests(
    conn: Connection, claims: Sequence[jobs.Claim], sampling: Sampling = Sampling()
) -> list[GenerationRequest]:
    """The request of each claim, in their order."""
    rows = conn.execute(
        text("SELECT id, messages, tools, sha256 FROM prompt WHERE id = ANY(:ids)"),
        {"ids": [claim.prompt_id for claim in claims]},
    ).all()
    prompts = {row.id: row for row in rows}
    return [_request(claim, prompts[claim.prompt_id], sampling) for claim in claims]


def _request(claim: jobs.Claim, prompt: Any, sampling: Sampling) -> GenerationRequest:
    own = sampling.seed_of(seed(prompt.sha256), claim.sample_index)
    return GenerationRequest(claim, prompt.messages, own, prompt.tools)


def seed(sha256: str) -> int:
    """A prompt's own sampling seed; `sha256` is the prompt's."""
    return int(sha256[:8], 16) % 2**31


def store(conn: Connection, lease_id: int, results: Sequence[NewGeneration]) -> int:
    """Complete the jobs and keep the answers of those that were still this lease's. Raises LeaseLost."""
    accepted = jobs.complete(conn, lease_id, [result.request.claim.id for result in results])
    rows = [_row(result) for result in results if result.request.claim.id in accepted]
    if rows:
        conn.execute(_INSERT, {"answers": json.dumps(rows, ensure_ascii=False), "lease_id": lease_id})
    return len(rows)


def _row(result: NewGeneration) -> dict[str, Any]:
    claim = result.request.claim
    values = result._asdict()
    del values["request"]
    return values | {
        "prompt_id": claim.prompt_id,
        "teacher_id": claim.teacher_id,
        "sample_index": claim.sample_index,
        "seed": result.request.seed,
        "job_id": claim.id,
    }
