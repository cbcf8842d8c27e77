r"""The shapes of public data sets, as a table: by which keys a record is recognised, and where its fields are.

To add a shape, add one entry to `SHAPES`. `conversation.py` knows the spellings of turns, `fields.py` the ways to read.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from persyn.imports.dialogues import (
    by_turns,
    functions_in,
    gemini_text,
    gemini_tools,
    gemini_turns,
    system_before_functions,
)
from persyn.imports.fields import Field, after_hashes, boxed, column, first_of, inside, template


class Shape(NamedTuple):
    """A record that has all `keys` is read so. Of a field's places, the first whose columns the record has counts."""

    name: str
    keys: tuple[str, ...]
    fields: Mapping[str, tuple[Field, ...]]


# The fields of a prompt. `prompt` is a text or a list of turns, `messages` a list of turns; where both are there, the
# one must hold the other. `answer` is an answer of nobody's name, `answers` several, by teacher.
FIELDS = ("id", "prompt", "messages", "system", "tools", "reference_answer", "answer", "answers")


def _columns(*names: str) -> tuple[Field, ...]:
    return tuple(column(name) for name in names)


TOOLS = _columns("tools", "functions")
TURNS = _columns("messages", "conversations", "conversation")
EVERYWHERE: Mapping[str, tuple[Field, ...]] = {
    "id": _columns("id", "custom_id", "uuid", "prompt_id", "unique_id", "conversation_id", "conversation_hash"),
    "system": _columns("system", "system_prompt", "system_message"),
    "tools": TOOLS,
    "reference_answer": _columns("reference_answer"),
}
_MATH = {"prompt": _columns("problem"), "messages": TURNS, "answer": _columns("solution")}

SHAPES = (  # the first whose keys a record has
    Shape("ultrafeedback", ("instruction", "completions"),
          {"prompt": _columns("instruction"), "answers": _columns("completions")}),
    Shape("preference", ("prompt", "chosen", "rejected"),
          {"prompt": _columns("prompt"), "messages": TURNS, "answer": _columns("chosen")}),
    Shape("preference", ("question", "chosen", "rejected"),
          {"prompt": _columns("question"), "answer": _columns("chosen")}),
    Shape("preference", ("chosen", "rejected"), {"messages": _columns("chosen")}),
    Shape("prompt_completion", ("prompt", "completion"),
          {"prompt": _columns("prompt"), "messages": TURNS, "answer": _columns("completion")}),
    Shape("verl", ("prompt", "reward_model"),
          {"prompt": _columns("prompt"),
           "reference_answer": (column("reference_answer"), inside("reward_model", "ground_truth")),
           "tools": (*TOOLS, inside("extra_info", "tools", keeps=True))}),
    Shape("prompt", ("prompt",),
          {"prompt": _columns("prompt"), "messages": TURNS, "answer": _columns("response", "output"),
           "answers": _columns("responses")}),
    Shape("numinamath", ("problem", "solution", "answer"),
          _MATH | {"reference_answer": (column("reference_answer"), first_of(column("answer"), boxed("solution")))}),
    Shape("math", ("problem", "solution"),
          _MATH | {"reference_answer": (column("reference_answer"), boxed("solution"))}),
    Shape("math", ("problem", "answer"),
          _MATH | {"reference_answer": _columns("reference_answer", "answer")}),
    Shape("magpie", ("instruction", "response", "conversations"),
          {"prompt": _columns("instruction"), "messages": TURNS, "answer": _columns("response")}),
    Shape("sharegpt", ("conversations",), {"messages": TURNS, "answers": _columns("responses")}),
    Shape("wildchat", ("conversation",), {"messages": TURNS, "answers": _columns("responses")}),
    Shape("chat", ("messages",), {"messages": TURNS, "answers": _columns("responses")}),
    Shape("dolly", ("instruction", "context"),
          {"prompt": (template("{instruction}\n\n{context}"),), "answer": _columns("response", "output")}),
    Shape("alpaca", ("instruction",),
          {"prompt": (template("{instruction}\n\n{input}"),), "answer": _columns("output", "response")}),
    Shape("openorca", ("question", "response"), {"prompt": _columns("question"), "answer": _columns("response")}),
    Shape("gsm8k", ("question", "answer"),
          {"prompt": _columns("question"), "answer": _columns("answer"),
           "reference_answer": (column("reference_answer"), after_hashes("answer"))}),
    Shape("glaive", ("system", "chat"),
          {"messages": _columns("chat"), "system": (system_before_functions("system"),),
           "tools": (*TOOLS, functions_in("system"))}),
    Shape("gemini", ("contents",),
          {"messages": (gemini_turns("contents"),), "tools": (gemini_tools("tools"),),
           "system": tuple(gemini_text(name) for name in ("systemInstruction", "system_instruction"))}),
    Shape("ultrachat", ("data",), {"messages": (by_turns("data"),)}),
)  # fmt: skip
BATCH_REQUEST = "batch request"
NAMES = tuple(dict.fromkeys(shape.name for shape in SHAPES))

NOT_TEXT = ("image", "images", "audio", "video", "videos")
# A column of such a name belongs to what the teacher must read. One that nothing reads is refused, unless ignored.
PARTS = (
    "system", "system_prompt", "system_message", "instructions", "input", "inputs", "context", "passage", "document",
    "article", "history", "options", "choices", *NOT_TEXT,
)  # fmt: skip


def recognised(keys: Collection[str]) -> Shape | None:
    """The shape of a record that has these keys, each with a value."""
    return next((shape for shape in SHAPES if all(key in keys for key in shape.keys)), None)


def named(name: str, keys: Collection[str]) -> Shape:
    """The shape that the user named, in the variant that fits these keys best."""
    variants = [shape for shape in SHAPES if shape.name == name]
    return next((shape for shape in variants if all(key in keys for key in shape.keys)), variants[-1])


def request_in(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The chat request that a line of a batch file wraps, as one flat record; None where it wraps none."""
    id, wrapped = values.get("custom_id", values.get("key")), values.get("body", values.get("params"))
    if "custom_id" not in values:  # Gemini's
        wrapped = request if isinstance(request := values.get("request"), dict) and "contents" in request else None
    if not isinstance(wrapped, dict):
        return None
    request = ({} if id is None else {"custom_id": id}) | wrapped
    renamed = {"input": "prompt", "instructions": "system"}  # the words of the responses API
    return {renamed.get(key, key): value for key, value in request.items()}
