"""Turns a user's record into the answers that it holds, or into the reasons why some of them are refused.

A record is a prompt with the answers of several teachers: `{"id" | "prompt" | "messages", "responses": {teacher:
{"text", "quality"?, "reasoning"?, "finish_reason"?, "prompt_tokens"?, "completion_tokens"?}}}`, or the bare text in
place of the inner object.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from persyn import thoughts
from persyn.imports.prompt_records import ANSWERS, Columns, canonical, storable_problem

_COUNTS = ("prompt_tokens", "completion_tokens")
_TEXTS = ("reasoning", "finish_reason")
_KEYS = ("text", "quality", *_TEXTS, *_COUNTS)


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


class PromptIdentity(NamedTuple):
    """The prompt that a record names: by its messages where it has them, else by its id."""

    external_id: str | None
    sha256: str | None


def identity(values: Any, *, max_bytes: int | None = None) -> PromptIdentity | str:
    """The prompt that a record names, or one sentence without a full stop that says why it names none."""
    if not isinstance(values, dict):
        return "not an object"
    problem = storable_problem(values, max_bytes)
    if problem:
        return problem
    fields = {key: values[key] for key in Columns._fields if values.get(key) is not None}
    if "prompt" in fields or "messages" in fields:
        prompt = canonical(fields)
        return prompt if isinstance(prompt, str) else PromptIdentity(prompt.external_id, prompt.sha256)
    name = fields.get("id")
    if name is None:
        return "has neither id nor prompt nor messages"
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        return "id is not a string or a number"
    return PromptIdentity(str(name), None)


def answers(values: Mapping[str, Any], pool: Pool) -> Iterator[ImportedAnswer | str]:
    """Each teacher's answer, or one sentence that says why it is refused."""
    responses = values.get(ANSWERS)
    if not isinstance(responses, dict) or not responses:
        yield f"{ANSWERS} is not an object of answers by teacher"
        return
    for teacher, response in responses.items():
        answer = _answer(str(teacher), response, pool)
        yield f"{str(teacher)[:80]}: {answer}" if isinstance(answer, str) else answer


def _answer(teacher: str, response: Any, pool: Pool) -> ImportedAnswer | str:
    if teacher not in pool.teachers:
        return f"the run has no teacher of this name; it has {', '.join(pool.teachers)}"[:400]
    given = {"text": response} if isinstance(response, str) else response
    if not isinstance(given, dict):
        return "the answer is neither a text nor an object"
    unknown = [key for key, value in given.items() if key not in _KEYS and value is not None]
    if unknown:
        return f"the answer has the unknown key {str(unknown[0])[:40]!r}; expected {', '.join(_KEYS)}"
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
