"""Reads an export's answers from the tables: for each prompt those of its chosen teacher, or teachers.

The answers keep the order that is asked for and carry no time of reading, so that a second export gives the same bytes.
What speaks against an answer is said in one place, the view `audit.answer`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn.errors import NotFound
from persyn.exports.choices import Choices
from persyn.exports.order import GIVEN, RowOrder

FETCH_ROWS = 1000

_FACTS = text("""
SELECT r.id, r.name, r.config_sha256, r.policy, r.code_version, s.name AS student, ps.name AS prompt_set,
       router.id AS router_id, router.artifact_sha256 AS router_sha256,
       EXISTS (SELECT FROM run_scorer rs JOIN scorer ON scorer.id = rs.scorer_id
               WHERE rs.run_id = r.id AND scorer.method = 'math_verify') AS is_mathematics
FROM run r
JOIN student s ON s.id = r.student_id
JOIN prompt_set ps ON ps.id = r.prompt_set_id
LEFT JOIN router ON router.run_id = coalesce(r.router_run_id, r.id)
WHERE r.id = :run_id
""")

_TEACHERS = text("""
SELECT t.name, t.family, t.model, t.revision
FROM run_teacher rt JOIN teacher t ON t.id = rt.teacher_id
WHERE rt.run_id = :run_id ORDER BY rt.position
""")

_ANSWERS = """
WITH choice AS ({choices})
SELECT p.id, coalesce(p.external_id, ''), p.sha256, p.messages, coalesce(p.reference_answer, ''),
       CASE WHEN p.meta = '{{}}' THEN '' ELSE CAST(p.meta AS text) END, t.name, t.family, coalesce(t.model, ''),
       coalesce(t.revision, ''), a.generation_id, a.text, coalesce(a.reasoning, ''), a.finish_reason, a.prompt_tokens,
       a.completion_tokens, a.quality, a.learnability, a.checked, a.flaws, a.created_at, c.basis, p.tools, a.tool_calls,
       a.sample_index, c.attempt, {scores}
FROM choice c
JOIN audit.answer a ON a.run_id = :run_id AND a.prompt_id = c.prompt_id AND a.teacher_id = c.teacher_id
                   AND a.sample_index < c.samples
JOIN prompt p ON p.id = c.prompt_id
JOIN teacher t ON t.id = c.teacher_id
{join}
ORDER BY {keys}, c.attempt, t.id, a.sample_index
"""

# Of a prompt with several attempts the last one says why it has no answer.
_MISSING = """
WITH choice AS ({choices}),
last AS (SELECT DISTINCT ON (prompt_id) * FROM choice ORDER BY prompt_id, attempt DESC)
SELECT CASE
           WHEN c.prompt_id IS NULL AND k.prompt_id IS NOT NULL AND r.config ->> 'calibration_answers' = 'exclude'
               THEN 'calibration_excluded'
           WHEN c.prompt_id IS NULL THEN 'not_routed'
           WHEN j.state = 'dead' THEN j.error_code
           WHEN j.state = 'cancelled' THEN 'cancelled'
           WHEN j.id IS NULL THEN 'not_asked'
           ELSE 'waiting'
       END AS reason,
       count(*) AS prompts
FROM run r
JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
LEFT JOIN calibration_prompt k ON k.run_id = coalesce(r.router_run_id, r.id) AND k.prompt_id = p.id
LEFT JOIN last c ON c.prompt_id = p.id
LEFT JOIN job j ON j.run_id = r.id AND j.kind = 'generate' AND j.prompt_id = c.prompt_id
               AND j.teacher_id = c.teacher_id AND j.sample_index = 0
WHERE r.id = :run_id AND NOT EXISTS (
    SELECT FROM choice every
    JOIN generation g ON g.prompt_id = every.prompt_id AND g.teacher_id = every.teacher_id
                     AND g.sample_index < every.samples
    WHERE every.prompt_id = p.id)
GROUP BY reason ORDER BY reason
"""

_PROMPTS = text("SELECT id, messages FROM prompt WHERE prompt_set_id = :prompt_set_id")

_REASONING = r"""
WITH choice AS ({choices})
SELECT 1 FROM choice c JOIN generation g USING (prompt_id, teacher_id)
WHERE g.sample_index < c.samples AND g.reasoning ~ '\S' LIMIT 1
"""

_TOOLS = """
WITH choice AS ({choices})
SELECT 1 FROM choice c
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = c.teacher_id AND g.sample_index < c.samples
JOIN prompt p ON p.id = c.prompt_id
WHERE p.tools IS NOT NULL OR g.tool_calls IS NOT NULL LIMIT 1
"""


class TeacherFacts(NamedTuple):
    name: str
    family: str
    model: str | None
    revision: str | None


class RunFacts(NamedTuple):
    id: int
    name: str
    config_sha256: str
    policy: str
    code_version: str
    student: str
    prompt_set: str
    router_id: int | None
    router_sha256: str | None
    is_mathematics: bool  # whether answers are checked by math_verify
    teachers: list[TeacherFacts]  # in coefficient order


class Answer(NamedTuple):
    """A prompt with one teacher's answer; each field that a user may ask for has its column's name."""

    prompt_id: int
    external_id: str
    prompt_sha256: str
    messages: list[dict[str, Any]]
    reference_answer: str
    metadata: str  # JSON
    teacher: str
    teacher_family: str
    teacher_model: str
    teacher_revision: str
    generation_id: int
    text: str
    reasoning: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    quality: float | None
    learnability: float | None
    checked: bool  # whether a quality was measured
    flaw_words: list[str]
    created_at: datetime
    basis: str
    tools: list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    sample_index: int = 0
    attempt: int = 1
    scores: dict[str, float] | None = None  # raw, by the scorers' ids; read where there may be several answers
    losses: dict[str, float] | None = None  # likewise, of lark alone
    reward: float | None = None  # where it was measured

    @property
    def flaws(self) -> str:
        return ",".join(self.flaw_words)

    @property
    def answered_at(self) -> str:
        return self.created_at.astimezone(UTC).isoformat()


def run_facts(connection: Connection, run_id: int) -> RunFacts:
    """Raises NotFound."""
    row = connection.execute(_FACTS, {"run_id": run_id}).first()
    if row is None:
        raise NotFound(f"There is no run {run_id}.")
    teachers = [TeacherFacts(*teacher) for teacher in connection.execute(_TEACHERS, {"run_id": run_id})]
    return RunFacts(**row._mapping, teachers=teachers)


def answers(
    connection: Connection, run_id: int, choices: Choices, order: RowOrder = GIVEN, *, with_scores: bool
) -> Iterator[Answer]:
    """The chosen teachers' answers prompt by prompt, flawed ones among them. An unknown text is empty.

    They come through a cursor on the server, so that memory stays flat.
    """
    options = {"stream_results": True, "yield_per": FETCH_ROWS}
    scores = "a.scores, a.losses" if with_scores else "NULL, NULL"
    statement = text(_ANSWERS.format(choices=choices.sql, scores=scores, join=order.join, keys=order.keys))
    values = choices.values(run_id) | order.parameters
    for row in connection.execute(statement, values, execution_options=options):
        yield Answer(*row)


def prompts(connection: Connection, prompt_set_id: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The ids and messages of a set's prompts, through a cursor likewise."""
    options = {"stream_results": True, "yield_per": FETCH_ROWS}
    for row in connection.execute(_PROMPTS, {"prompt_set_id": prompt_set_id}, execution_options=options):
        yield row.id, row.messages


def missing(connection: Connection, run_id: int, choices: Choices) -> dict[str, int]:
    """The number of the set's prompts without an answer, by reason: a dead job's error code, or the prompt's state."""
    found = connection.execute(text(_MISSING.format(choices=choices.sql)), choices.values(run_id))
    return {row.reason: row.prompts for row in found}


def have_reasoning(connection: Connection, run_id: int, choices: Choices) -> bool:
    """Whether one chosen answer at least has a reasoning."""
    statement = text(_REASONING.format(choices=choices.sql))
    return connection.execute(statement, choices.values(run_id)).first() is not None


def have_tools(connection: Connection, run_id: int, choices: Choices) -> bool:
    """Whether one chosen answer at least is to a prompt with tools, or calls one."""
    statement = text(_TOOLS.format(choices=choices.sql))
    return connection.execute(statement, choices.values(run_id)).first() is not None
