"""The layouts: an answer as a row that one fine-tuning library reads, and the same row's types for Parquet.

Every column has one type and no null where a text is not known: `datasets` takes a column's type from a file's first
10 MB. So a message has `reasoning_content` in every row of a set, or in none. Where a set has tools, messages differ in
their keys, and their type is JSON.
"""

from typing import Any, NamedTuple

import pyarrow as pa

from persyn.config import Column, Layout, Reasoning
from persyn.exports import calls
from persyn.exports.rows import Answer
from persyn.thoughts import with_thought

# None where the layout's reader knows no such field: LLaMA-Factory reads <think>, OpenAI's format neither.
DEFAULT_REASONING: dict[Layout, Reasoning] = {
    "prompt_completion": "field", "messages": "field", "preference": "field", "axolotl": "field", "verl": "drop",
    "llamafactory": "think", "openai": "drop",
}  # fmt: skip

_NUMBERS = {
    "quality": pa.float64(), "learnability": pa.float64(), "reward": pa.float64(), "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
}  # fmt: skip
_OF_THE_PROMPT: tuple[Column, ...] = ("prompt_sha256", "reference_answer", "metadata")


class RowForm(NamedTuple):
    """The look of an export's rows. `reasoning` is `drop` where no answer has one."""

    layout: Layout
    reasoning: Reasoning = "drop"
    columns: tuple[Column, ...] = ()
    data_source: str = ""  # verl: chooses the reward function there
    ability: str = ""
    tools: bool = False  # whether a prompt offers tools, or a turn calls one


def row(answer: Answer, shape: RowForm) -> dict[str, Any]:
    """A row of any layout but `preference`."""
    prompt, said = _prompt(answer, shape), _said(answer, shape)
    if shape.layout == "verl":
        return _verl(answer, shape, prompt)
    if shape.layout == "prompt_completion":
        # TRL takes the loss over the completion alone in this form, and over the whole text of `messages`.
        talk: dict[str, Any] = {"prompt": prompt, "completion": [said]}
    else:
        talk = {"messages": [*prompt, said]}
    talk |= _offered(answer, shape)
    if shape.layout == "openai":
        return talk
    ids = {"teacher": answer.teacher, "generation_id": answer.generation_id}
    columns = {column: getattr(answer, column) for column in shape.columns}
    return talk | {"prompt_id": answer.prompt_id, "external_id": answer.external_id} | ids | columns


def preference_row(chosen: Answer, rejected: Answer, shape: RowForm) -> dict[str, Any]:
    """A pair of answers to one prompt, in TRL's form with an explicit prompt."""
    pair = {"chosen": chosen, "rejected": rejected}
    columns: dict[str, Any] = {name: getattr(chosen, name) for name in shape.columns if name in _OF_THE_PROMPT}
    for column in ("teacher", "generation_id", *_of_the_answer(shape)):
        columns |= {f"{role}_{column}": getattr(answer, column) for role, answer in pair.items()}
    talk = {"prompt": _prompt(chosen, shape)} | {role: [_said(answer, shape)] for role, answer in pair.items()}
    talk |= _offered(chosen, shape)
    return talk | {"prompt_id": chosen.prompt_id, "external_id": chosen.external_id} | columns


def schema(shape: RowForm) -> pa.Schema:
    """The types of the rows, in their order."""
    if shape.layout == "verl":
        return _verl_schema(shape)
    answers = _talk("reasoning_content") if shape.reasoning == "field" else _talk()
    prompt = _talk()
    if shape.tools and shape.layout != "llamafactory":
        answers = prompt = pa.list_(calls.JSON)
    ids = [("prompt_id", pa.int64()), ("external_id", pa.string())]
    offered = [("tools", calls.column(shape.layout))] if shape.tools else []
    match shape.layout:
        case "openai":
            return pa.schema([("messages", answers), *offered])
        case "preference":
            shared = [(column, pa.string()) for column in shape.columns if column in _OF_THE_PROMPT]
            of_two = [("teacher", pa.string()), ("generation_id", pa.int64()), *map(_typed, _of_the_answer(shape))]
            apart = [(f"{role}_{name}", type) for name, type in of_two for role in ("chosen", "rejected")]
            talk = [("prompt", prompt), ("chosen", answers), ("rejected", answers)]
            return pa.schema([*talk, *offered, *ids, *shared, *apart])
        case "prompt_completion":
            talk = [("prompt", prompt), ("completion", answers)]
        case _:
            talk = [("messages", answers)]
    origin = [("teacher", pa.string()), ("generation_id", pa.int64())]
    return pa.schema([*talk, *offered, *ids, *origin, *map(_typed, shape.columns)])


def _prompt(answer: Answer, shape: RowForm) -> list[dict[str, Any]]:
    """The prompt's messages, keys in a fixed order; beside the answer in one list they all have the same keys."""
    together = shape.reasoning == "field" and shape.layout in ("messages", "axolotl", "llamafactory", "openai")
    thoughts = {"reasoning_content": ""} if together else {}
    if shape.tools:
        return [message | thoughts for message in calls.messages(answer.messages, shape.layout)]
    return [{"role": message["role"], "content": message["content"]} | thoughts for message in answer.messages]


def _said(answer: Answer, shape: RowForm) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_calls and shape.tools:
        [said] = calls.messages([said | {"tool_calls": answer.tool_calls}], shape.layout)
    if shape.reasoning == "field":
        return said | {"reasoning_content": answer.reasoning}
    if shape.reasoning == "think" and answer.reasoning.strip():
        return said | {"content": with_thought(answer.reasoning, said.get("content", ""))}
    return said


def _offered(answer: Answer, shape: RowForm) -> dict[str, Any]:
    given = calls.offered(answer, shape.layout) if shape.tools else None
    # OpenAI's checker wants no empty list.
    return {} if given is None or (shape.layout == "openai" and not given) else {"tools": given}


def _verl(answer: Answer, shape: RowForm, prompt: list[dict[str, Any]]) -> dict[str, Any]:
    of_tools = {"tools": calls.offered(answer, "verl"), "tool_calls": calls.text(answer)} if shape.tools else {}
    return {
        "data_source": shape.data_source,
        "prompt": prompt,
        "ability": shape.ability,
        "reward_model": {"style": "rule", "ground_truth": answer.reference_answer},
        "extra_info": {
            "prompt_id": answer.prompt_id,
            "external_id": answer.external_id,
            "teacher": answer.teacher,
            "generation_id": answer.generation_id,
            "answer": answer.text,
        } | of_tools,
    }  # fmt: skip


def _of_the_answer(shape: RowForm) -> list[Column]:
    return [column for column in shape.columns if column not in _OF_THE_PROMPT]


def _typed(column: Column) -> tuple[str, pa.DataType]:
    return column, _NUMBERS.get(column, pa.string())


def _talk(*more: str) -> pa.DataType:
    return pa.list_(pa.struct([(key, pa.string()) for key in ("role", "content", *more)]))


def _verl_schema(shape: RowForm) -> pa.Schema:
    texts = [("external_id", pa.string()), ("teacher", pa.string())]
    of_tools = [("tools", pa.string()), ("tool_calls", pa.string())] if shape.tools else []
    extra = [("prompt_id", pa.int64()), *texts, ("generation_id", pa.int64()), ("answer", pa.string()), *of_tools]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", calls.VERL_MESSAGES if shape.tools else _talk()),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
            ("extra_info", pa.struct(extra)),
        ]
    )
