"""The layouts of a row, and that Parquet's types are those of the rows."""

import json
from typing import Any, get_args

import pyarrow as pa
import pytest

from persyn.config import Column, Layout, Reasoning
from persyn.config.export import BARE
from persyn.exports import layouts
from persyn.exports.layouts import RowForm

PROMPT = [{"role": "system", "content": "brief"}, {"role": "user", "content": "1+1?"}]
ORIGIN = {"prompt_id": 7, "external_id": "x", "teacher": "small", "generation_id": 9}


def test_prompt_completion_keeps_the_answer_apart(make_answer: Any) -> None:
    assert layouts.row(make_answer(), RowForm("prompt_completion")) == ORIGIN | {
        "prompt": PROMPT,
        "completion": [{"role": "assistant", "content": "It is 2"}],
    }


@pytest.mark.parametrize("layout", ["messages", "llamafactory", "axolotl"])
def test_messages_is_one_conversation_that_ends_with_the_answer(make_answer: Any, layout: Layout) -> None:
    talk = [*PROMPT, {"role": "assistant", "content": "It is 2"}]
    assert layouts.row(make_answer(), RowForm(layout)) == ORIGIN | {"messages": talk}


def test_openai_has_no_column_beside_the_messages(make_answer: Any) -> None:
    assert list(layouts.row(make_answer(), RowForm("openai"))) == ["messages"]


def test_verl_has_what_a_reward_function_needs(make_answer: Any) -> None:
    row = layouts.row(make_answer(), RowForm("verl", data_source="set", ability="math"))
    assert (row["data_source"], row["ability"], row["prompt"]) == ("set", "math", PROMPT)
    assert row["reward_model"] == {"style": "rule", "ground_truth": "2"}
    assert row["extra_info"]["answer"] == "It is 2"


def test_a_preference_tells_both_answers_apart(make_answer: Any) -> None:
    rejected = make_answer(text="It is 3", teacher="large", generation_id=10, quality=0.0)
    shape = RowForm("preference", columns=("quality", "reference_answer"))
    row = layouts.preference_row(make_answer(), rejected, shape)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (
        PROMPT,
        [{"role": "assistant", "content": "It is 2"}],
        [{"role": "assistant", "content": "It is 3"}],
    )
    assert (row["chosen_teacher"], row["rejected_teacher"]) == ("small", "large")
    assert (row["chosen_quality"], row["rejected_quality"], row["reference_answer"]) == (1.0, 0.0, "2")


def test_reasoning_stands_beside_the_answer(make_answer: Any) -> None:
    row = layouts.row(make_answer(reasoning="two ones"), RowForm("prompt_completion", "field"))
    assert row["completion"] == [{"role": "assistant", "content": "It is 2", "reasoning_content": "two ones"}]
    assert row["prompt"] == PROMPT


def test_all_messages_of_a_list_have_the_same_keys(make_answer: Any) -> None:
    """Else Arrow fills the gaps with nulls, which chat templates render."""
    talk = layouts.row(make_answer(reasoning="two ones"), RowForm("messages", "field"))["messages"]
    assert [message["reasoning_content"] for message in talk] == ["", "", "two ones"]


@pytest.mark.parametrize(
    ("reasoning", "content"),
    [("two ones", "<think>\ntwo ones\n</think>\n\nIt is 2"), ("", "It is 2"), (" \n", "It is 2")],
)
def test_reasoning_stands_inside_the_answer_where_there_is_any(make_answer: Any, reasoning: str, content: str) -> None:
    row = layouts.row(make_answer(reasoning=reasoning), RowForm("prompt_completion", "think"))
    assert row["completion"] == [{"role": "assistant", "content": content}]


def test_reasoning_can_be_dropped(make_answer: Any) -> None:
    row = layouts.row(make_answer(reasoning="two ones"), RowForm("messages", "drop"))
    assert "two ones" not in json.dumps(row)


def test_columns_follow_on_request_and_an_unknown_text_is_an_empty_one(make_answer: Any) -> None:
    shape = RowForm("prompt_completion", columns=("quality", "teacher_revision", "metadata", "flaws", "answered_at"))
    row = layouts.row(make_answer(flaw_words=["cut", "wrong"]), shape)
    assert list(row.items())[-5:] == [
        ("quality", 1.0), ("teacher_revision", ""), ("metadata", '{"source": "book"}'), ("flaws", "cut,wrong"),
        ("answered_at", "2026-11-25T12:00:00+00:00"),
    ]  # fmt: skip


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("reasoning", get_args(Reasoning))
@pytest.mark.parametrize("unknown", [{}, {"quality": None, "reward": None, "completion_tokens": None}])
def test_the_schema_is_that_of_the_rows(
    make_answer: Any, layout: Layout, reasoning: Reasoning, unknown: dict[str, None]
) -> None:
    shape = RowForm(layout, reasoning, () if layout in BARE else get_args(Column))
    answer = make_answer(reasoning="two ones", **unknown)
    row = layouts.preference_row(answer, answer, shape) if layout == "preference" else layouts.row(answer, shape)
    schema = layouts.schema(shape)
    assert schema.names == list(row)
    assert pa.Table.from_pylist([row], schema=schema).to_pylist() == [row]
