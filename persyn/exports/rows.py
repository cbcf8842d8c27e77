"""Reads an export's rows from the tables: one for each prompt whose chosen teacher has answered.

The rows keep the prompts' order and carry no time, so that a second export gives the same bytes.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, text

from persyn.errors import NotFound

Layout = Literal["messages", "prompt_completion"]
FETCH_ROWS = 1000

_FACTS = text("""
SELECT r.id, r.name, r.config_sha256, r.policy, r.code_version, s.name AS student,
       router.id AS router_id, router.artifact_sha256 AS router_sha256,
       ARRAY(SELECT t.name FROM run_teacher rt JOIN teacher t ON t.id = rt.teacher_id
             WHERE rt.run_id = r.id ORDER BY rt.position) AS teachers
FROM run r
JOIN student s ON s.id = r.student_id
LEFT JOIN router ON router.run_id = r.id
WHERE r.id = :run_id
""")

_ANSWERS = text("""
SELECT p.id AS prompt_id, p.external_id, p.messages, t.name AS teacher, g.id AS generation_id, g.text AS answer
FROM run r
JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0
JOIN prompt p ON p.id = d.prompt_id
JOIN teacher t ON t.id = d.teacher_id
WHERE r.id = :run_id
ORDER BY p.position, p.id
""")

_MISSING = text("""
SELECT CASE
           WHEN d.id IS NULL AND c.prompt_id IS NOT NULL AND r.config ->> 'calibration_answers' = 'exclude'
               THEN 'calibration_excluded'
           WHEN d.id IS NULL THEN 'not_routed'
           WHEN j.state = 'dead' THEN j.error_code
           WHEN j.state = 'cancelled' THEN 'cancelled'
           WHEN j.id IS NULL THEN 'not_asked'
           ELSE 'waiting'
       END AS reason,
       count(*) AS prompts
FROM run r
JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
LEFT JOIN calibration_prompt c ON c.run_id = r.id AND c.prompt_id = p.id
LEFT JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id
LEFT JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0
LEFT JOIN job j ON j.run_id = r.id AND j.kind = 'generate' AND j.prompt_id = d.prompt_id
               AND j.teacher_id = d.teacher_id AND j.sample_index = 0
WHERE r.id = :run_id AND g.id IS NULL
GROUP BY reason ORDER BY reason
""")


class RunFacts(NamedTuple):
    id: int
    name: str
    config_sha256: str
    policy: str
    code_version: str
    student: str
    router_id: int | None
    router_sha256: str | None
    teachers: list[str]  # in coefficient order


class RoutedAnswer(NamedTuple):
    """A prompt with the answer of the teacher that the run's policy chose."""

    prompt_id: int
    external_id: str | None
    messages: list[dict[str, str]]
    teacher: str
    generation_id: int
    answer: str


def run_facts(connection: Connection, run_id: int) -> RunFacts:
    """Raises NotFound."""
    row = connection.execute(_FACTS, {"run_id": run_id}).first()
    if row is None:
        raise NotFound(f"There is no run {run_id}.")
    return RunFacts(*row)


def answers(connection: Connection, run_id: int) -> Iterator[RoutedAnswer]:
    """The answers in the prompts' order, through a cursor on the server, so that memory stays flat."""
    options = {"stream_results": True, "yield_per": FETCH_ROWS}
    for row in connection.execute(_ANSWERS, {"run_id": run_id}, execution_options=options):
        yield RoutedAnswer(*row)


def missing(connection: Connection, run_id: int) -> dict[str, int]:
    """The number of the set's prompts without a row, by reason: a dead job's error code, or the prompt's state."""
    return {row.reason: row.prompts for row in connection.execute(_MISSING, {"run_id": run_id})}


def training_row(answer: RoutedAnswer, layout: Layout) -> dict[str, Any]:
    """A row for fine-tuning. `prompt_completion` is TRL's conversational prompt-completion form."""

    prompt = [{"role": message["role"], "content": message["content"]} for message in answer.messages]
    completion = [{"role": "assistant", "content": answer.answer}]
    conversation: dict[str, Any] = (
        {"messages": prompt + completion} if layout == "messages" else {"prompt": prompt, "completion": completion}
    )
    return conversation | {
        "prompt_id": answer.prompt_id,
        "external_id": answer.external_id,
        "teacher": answer.teacher,
        "generation_id": answer.generation_id,
    }
