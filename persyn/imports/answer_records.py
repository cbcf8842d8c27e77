"""Turns a user's record into the answers that it holds, or into the reasons why some of them are refused.

A record is a prompt with the answers of several teachers: `{"id" | "prompt" | "messages", "responses": {teacher:
{"text", "tool_calls"?, "quality"?, "reasoning"?, "finish_reason"?, "prompt_tokens"?, "completion_tokens"?}}}`, or the
bare text in place of the inner object. UltraFeedback's `completions` are such answers too. The one answer of another
shape has no teacher's name; the user gives one.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from persyn import thoughts, tools
from persyn.imports.conversation import SourceAnswer, answer_in
from persyn.imports.fields import Refused
from persyn.imports.prompt_records import NOT_STORABLE, canonical, json_text, scalar, unstorable
from persyn.imports.reading import Plan, Reading

_COUNTS = ("prompt_tokens", "completion_tokens")
_TEXTS = ("reasoning", "finish_reason")
_KEYS = ("text", "tool_calls", "quality", *_TEXTS, *_COUNTS)
RESPONSES = "responses"


class Pool(NamedTuple):
    """The teachers whose answers a run takes, and the scorer and range of an imported quality."""

    teachers: Mapping[str, int]  # name → id
    scorer_id: int | None  # of the kind `imported`; None where the run has none
    minimum: float = 0.0
    maximum: float = 1.0


class ImportedAnswer(NamedTuple):
    teacher_id: int
    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    quality: float | None
    tool_calls: str | None = None  # JSON


class PromptIdentity(NamedTuple):
    """The prompt that a record names: by its messages where it has them, else by its id."""

    external_id: str | None
    sha256: str | None
    answer: SourceAnswer | None = None  # that its conversation ended with


def identity(values: Any, reading: Reading, *, max_bytes: int | None = None) -> PromptIdentity | str:
    """The prompt that a record names, or one sentence without a full stop that says why it names none."""
    try:
        record, plan = reading.plan(values)
        text = json_text(record)
        problem = unstorable(text)
        if problem is None and max_bytes is not None and len(text.encode()) > max_bytes:
            problem = f"longer than {max_bytes} bytes"
        if problem:
            return problem
        if not plan.lacking:
            prompt = canonical(values, reading)
            return (
                prompt if isinstance(prompt, str) else PromptIdentity(prompt.external_id, prompt.sha256, prompt.answer)
            )
        if "id" not in plan.fields:
            return f"has no id, and {plan.lacking}"
        return PromptIdentity(scalar(plan, "id", record), None)
    except Refused as exc:
        return str(exc)
    except RecursionError:
        return NOT_STORABLE


def answers(
    values: Any, prompt: PromptIdentity, reading: Reading, pool: Pool, teacher: str | None = None
) -> Iterator[ImportedAnswer | str]:
    """Each answer, or one sentence that says why it is refused. `teacher` gave those that come without a name."""
    try:
        record, plan = reading.plan(values)
        responses = _named_answers(record, plan) or _nameless_answer(record, plan, prompt, teacher)
    except Refused as exc:
        yield str(exc)
        return
    for name, response in responses:
        answer = _answer(name, response, pool)
        yield f"{name[:80]}: {answer}" if isinstance(answer, str) else answer


def _named_answers(record: Mapping[str, Any], plan: Plan) -> list[tuple[str, Any]]:
    """Teachers with their answers as the record has them; none where it names no teacher. Raises Refused."""
    found = plan.read("answers", record)
    if found is None:
        return []
    where = plan.fields["answers"].words
    if isinstance(found, dict) and found:
        return [(str(name), response) for name, response in found.items()]
    if isinstance(found, list) and found and all(isinstance(one, dict) and "model" in one for one in found):
        return [(str(one["model"]), _completion(one)) for one in found]
    raise Refused(f"{where} is not an object of answers by teacher")


def _completion(given: Mapping[str, Any]) -> dict[str, Any]:
    """One of UltraFeedback's completions: a model, its response, and a score for a run that takes imported ones."""
    return {"text": given.get("response"), "offered_quality": given.get("overall_score")}


def _nameless_answer(
    record: Mapping[str, Any], plan: Plan, prompt: PromptIdentity, teacher: str | None
) -> list[tuple[str, Any]]:
    """The source's answer as that of the teacher that the user named. Raises Refused."""
    answer = _source_answer(record, plan) or prompt.answer
    if answer is None:
        raise Refused(f"has no answer: neither {RESPONSES} by teacher nor a last turn of the assistant")
    if teacher is None:
        raise Refused("has an answer without a teacher's name; --answers-as TEACHER gives it one")
    return [(teacher, answer._asdict())]


def _source_answer(record: Mapping[str, Any], plan: Plan) -> SourceAnswer | None:
    given = plan.read("answer", record)
    if given is None or isinstance(given, str):
        return None if given is None else SourceAnswer(given)
    if isinstance(given, list):
        return answer_in(given, plan.fields["answer"].words)
    raise Refused(f"{plan.fields['answer'].words} is not a text")


def _answer(teacher: str, response: Any, pool: Pool) -> ImportedAnswer | str:
    if teacher not in pool.teachers:
        return f"the run has no teacher of this name; it has {', '.join(pool.teachers)}"[:400]
    given: Any = {"text": response} if isinstance(response, str) else response
    if not isinstance(given, dict):
        return "the answer is neither a text nor an object"
    if pool.scorer_id is not None and "offered_quality" in given:
        given = {"text": given["text"], "quality": given["offered_quality"]}
    given = {key: value for key, value in given.items() if key != "offered_quality"}
    unknown = [key for key, value in given.items() if key not in _KEYS and value is not None]
    if unknown:
        return f"the answer has the unknown key {str(unknown[0])[:40]!r}; expected {', '.join(_KEYS)}"
    try:
        calls = tools.calls(given["tool_calls"]) if given.get("tool_calls") else None
    except ValueError as exc:
        return f"tool_calls {exc}"
    given = given | ({"text": ""} if calls and given.get("text") is None else {})
    if not isinstance(given.get("text"), str):  # an empty text is an answer
        return "the answer has no text"
    wrong = [key for key in _TEXTS if not isinstance(given.get(key), str | None)]
    wrong += [key for key in _COUNTS if not _is_count(given.get(key))]
    if wrong:
        return f"{wrong[0]} is not a {'text' if wrong[0] in _TEXTS else 'count of tokens'}"
    split = thoughts.split(given["text"], given.get("reasoning"))
    problem = _wrong_quality(given.get("quality"), pool)
    return problem or ImportedAnswer(
        teacher_id=pool.teachers[teacher],
        text=split.text,
        reasoning=split.reasoning,
        finish_reason=given.get("finish_reason") or "unknown",
        prompt_tokens=given.get("prompt_tokens"),
        completion_tokens=given.get("completion_tokens"),
        quality=None if given.get("quality") is None else float(given["quality"]),
        tool_calls=None if calls is None else json_text(calls),
    )


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31)


def _wrong_quality(value: Any, pool: Pool) -> str | None:
    if value is None:
        return None
    if pool.scorer_id is None:
        return "has a quality, but the run has no quality scorer of the kind imported that would take it"
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        return "quality is not a number"
    if abs(value) > sys.float_info.max:  # an integer of hundreds of digits
        return f"quality is outside of {pool.minimum:g} to {pool.maximum:g}"
    if not pool.minimum <= value <= pool.maximum:
        return f"quality {value:g} is outside of {pool.minimum:g} to {pool.maximum:g}"
    return None
