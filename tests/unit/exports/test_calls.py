"""Tools in the rows of each layout, as that layout's own reader takes them."""

import json
from pathlib import Path
from typing import Any, get_args

import datasets
import pyarrow as pa
import pytest

from persyn.config import Layout
from persyn.exports import calls, documents, layouts
from persyn.exports.files import open_sink
from persyn.exports.layouts import RowForm

FUNCTION = {"name": "weather", "description": "Now.", "parameters": {"type": "object", "properties": {"city": {}}}}
TOOL = {"type": "function", "function": FUNCTION}
ARGUMENTS = {"city": "Rome"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}
WITH_OBJECT = CALL | {"function": {"name": "weather", "arguments": ARGUMENTS}}
USER = {"role": "user", "content": "Weather?"}
TALK = [
    USER,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "18C", "tool_call_id": "c1"},
    {"role": "tool", "content": "wet", "tool_call_id": "c2"},
]
READ_BY_TEMPLATES = [USER, {"role": "assistant", "content": "", "tool_calls": [WITH_OBJECT]}, *TALK[2:]]
SAID = {"role": "assistant", "content": "", "tool_calls": [WITH_OBJECT]}


@pytest.fixture
def row(make_answer: Any) -> Any:
    def made(layout: Layout, place: Any = "drop", **changes: Any) -> dict[str, Any]:
        given = {"messages": TALK, "text": "", "tools": [TOOL], "tool_calls": [CALL]} | changes
        answer, shape = make_answer(**given), RowForm(layout, place, tools=True)
        return layouts.preference_row(answer, answer, shape) if layout == "preference" else layouts.row(answer, shape)

    return made


def test_trl_gets_arguments_as_objects_and_tools_as_json_text(row: Any) -> None:
    made = row("prompt_completion")
    assert (made["prompt"], made["completion"]) == (READ_BY_TEMPLATES, [SAID])
    assert json.loads(made["tools"]) == [TOOL]
    assert row("messages")["messages"] == [*READ_BY_TEMPLATES, SAID]
    assert row("preference")["chosen"] == [SAID]


def test_a_prompt_without_tools_in_such_a_set_says_so_in_json(row: Any) -> None:
    """TRL reads the text, and gives the template None: an empty list makes some templates write a heading."""
    plain = {"tools": None, "tool_calls": None, "messages": [USER], "text": "No."}
    assert json.loads(row("prompt_completion", **plain)["tools"]) is None
    assert row("openai", **plain) == {"messages": [USER, {"role": "assistant", "content": "No."}]}
    assert (row("axolotl", **plain)["tools"], row("llamafactory", **plain)["tools"]) == ([], "")


def test_openai_gets_arguments_as_text_and_no_empty_content(row: Any) -> None:
    calling = {"role": "assistant", "tool_calls": [CALL]}
    assert row("openai") == {"messages": [USER, calling, *TALK[2:], calling], "tools": [TOOL]}


def test_llama_factory_gets_turns_of_their_own(row: Any) -> None:
    """A user or an observation, then an assistant or a function_call: its converter skips every other order."""
    made = row("llamafactory", "think", reasoning="I must look.")
    call = json.dumps([{"name": "weather", "arguments": ARGUMENTS}])
    assert made["messages"] == [
        USER,
        {"role": "function_call", "content": call},
        {"role": "observation", "content": "18C\n</tool_response>\n<tool_response>\nwet"},
        {"role": "function_call", "content": f"<think>\nI must look.\n</think>\n\n{call}"},
    ]
    assert json.loads(made["tools"]) == [FUNCTION]


def test_axolotl_gets_a_list_whose_schemas_are_texts(row: Any) -> None:
    made = row("axolotl")
    assert made["messages"] == [*READ_BY_TEMPLATES, SAID]
    [tool] = made["tools"]
    assert json.loads(tool["function"]["parameters"]) == FUNCTION["parameters"]


def test_verl_gets_messages_of_one_type_and_the_tools_beside(row: Any) -> None:
    made = row("verl")
    assert made["prompt"][1]["tool_calls"] == [CALL]
    assert made["prompt"][0] == USER | {"tool_calls": None, "tool_call_id": None, "name": None}
    assert json.loads(made["extra_info"]["tools"]) == [TOOL]
    assert json.loads(made["extra_info"]["tool_calls"]) == [CALL]


def test_a_text_beside_a_call_is_told(make_answer: Any) -> None:
    assert calls.text_beside_call(make_answer(text="Wait.", tool_calls=[CALL]))
    assert not calls.text_beside_call(make_answer(text="", messages=TALK, tool_calls=[CALL]))
    assert not calls.text_beside_call(make_answer(text="It is 2"))


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("layout", get_args(Layout))
def test_datasets_reads_the_rows_as_they_were(row: Any, layout: Layout, format: Any, tmp_path: Path) -> None:
    """With the types of the card, which `load_dataset` reads beside the files."""
    rows = [row(layout, tools=None, tool_calls=None, messages=[USER], text="No."), row(layout)]
    schema = layouts.schema(RowForm(layout, tools=True))
    with open_sink(tmp_path, "train", format, schema) as sink:
        for one in rows:
            sink.add(one, 1)
        [file] = sink.finish()
    features = datasets.Features._from_yaml_list([documents._feature(field) for field in schema])
    reader = "json" if format == "jsonl" else "parquet"
    read = datasets.load_dataset(
        reader, data_files=str(file.path), split="train", cache_dir=str(tmp_path / "cache"), features=features
    ).to_list()
    lacking = {"tools": None} if layout == "openai" else {}
    assert read == [rows[0] | lacking, rows[1]]


def test_the_schema_keeps_its_columns_in_the_rows_order(row: Any) -> None:
    for layout in get_args(Layout):
        assert layouts.schema(RowForm(layout, tools=True)).names == list(row(layout))
    assert pa.types.is_list(layouts.schema(RowForm("messages", tools=True)).field("messages").type)
