"""Each known shape is recognised by its keys and taken whole: one record of each, as its public set has it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.reading import Reading
from persyn.imports.shapes import NAMES, SHAPES


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
HH = "\n\nHuman: Hi\n\nAssistant: Hello"
FUNCTION = {"name": "rate", "description": "The rate.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
GLAIVE = f"SYSTEM: You may use these functions. Use them if required -\n{json.dumps(FUNCTION, indent=4)}\n"
RECORDS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    # shape, record, the last message, other fields
    ("alpaca", {"instruction": "Translate.", "input": "Good", "output": "Bon"}, "Translate.\n\nGood", {}),
    ("alpaca", {"instruction": "Name one.", "input": "", "output": "2", "system": "Be brief"}, "Name one.", {}),
    ("dolly", {"instruction": "When?", "context": "In 1969.", "response": "1969"}, "When?\n\nIn 1969.", {}),
    ("sharegpt", {"id": "s", "conversations": TURNS, "system_prompt": None}, "Hi", {"external_id": "s"}),
    ("chat", {"messages": CHAT, "source": "x"}, "Hi", {"meta": {"source": "x"}}),
    ("wildchat", {"conversation_hash": "h", "conversation": CHAT, "language": "English"}, "Hi", {"external_id": "h"}),
    ("magpie", {"uuid": "u", "instruction": "Hi", "response": "Hello", "conversations": TURNS}, "Hi",
     {"external_id": "u"}),
    ("ultrafeedback", {"instruction": "Hi", "completions": [{"model": "m", "response": "a"}]}, "Hi", {"meta": {}}),
    ("preference", {"prompt": "Hi", "prompt_id": "p", "chosen": CHAT, "rejected": CHAT, "messages": CHAT}, "Hi",
     {"external_id": "p"}),
    ("preference", {"chosen": CHAT, "rejected": CHAT}, "Hi", {}),
    ("preference", {"system": "Be brief", "question": "Hi", "chosen": "a", "rejected": "b"}, "Hi", {}),
    ("verl", {"data_source": "d", "prompt": CHAT[:1], "reward_model": {"style": "rule", "ground_truth": "2"}}, "Hi",
     {"reference_answer": "2", "meta": {"data_source": "d"}}),
    ("gsm8k", {"question": "1+1?", "answer": "It is\n#### 2"}, "1+1?", {"reference_answer": "2"}),
    ("math", {"problem": "1+1?", "solution": r"\boxed{2}"}, "1+1?", {"reference_answer": "2"}),
    ("math", {"problem": "Hi", "solution": r"\boxed{2}", "messages": CHAT}, "Hi", {"reference_answer": "2"}),
    ("math", {"problem": "1+1?", "answer": 2}, "1+1?", {"reference_answer": "2"}),
    ("numinamath", {"problem": "1+1?", "solution": r"\boxed{3}", "answer": "2"}, "1+1?", {"reference_answer": "2"}),
    ("numinamath", {"problem": "1?", "solution": r"\boxed{3}", "answer": " "}, "1?", {"reference_answer": "3"}),
    ("openorca", {"id": "o", "system_prompt": "", "question": "Hi", "response": "Hello"}, "Hi", {"external_id": "o"}),
    ("prompt", {"prompt": "Hi", "level": 1}, "Hi", {"meta": {"level": 1}}),
    ("prompt", {"prompt": CHAT[:1]}, "Hi", {}),
    ("prompt", {"prompt": "Hi", "response": "Hello", "reference_answer": ""}, "Hi", {"reference_answer": None}),
    ("prompt_completion", {"prompt": "Hi", "completion": "Hello"}, "Hi", {"meta": {}}),
    ("prompt_completion", {"prompt": CHAT[:1], "completion": CHAT[1:]}, "Hi", {"meta": {}}),
    ("preference", {"chosen": HH, "rejected": HH + "!"}, "Hi", {"meta": {"rejected": HH + "!"}}),
    ("verl", {"prompt": CHAT[:1], "reward_model": {"ground_truth": "2"},
              "extra_info": {"index": 7, "tools": json.dumps([TOOL])}}, "Hi",
     {"tools_json": compact([TOOL]), "meta": {"extra_info": {"index": 7, "tools": json.dumps([TOOL])}}}),
    ("glaive", {"system": "SYSTEM: Be brief", "chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>\n\n\n"}, "Hi",
     {"tools_json": None}),
    ("glaive", {"system": GLAIVE, "chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>"}, "Hi",
     {"tools_json": compact([TOOL])}),
    ("gemini", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "a"}]}],
                "systemInstruction": {"parts": [{"text": "Be brief"}]}}, "Hi", {}),
    ("ultrachat", {"id": "7", "data": ["Hi", "Hello"]}, "Hi", {"external_id": "7"}),
    ("batch request (gemini)", {"key": "k", "request": {"contents": [{"parts": [{"text": "Hi"}]}]}}, "Hi",
     {"external_id": "k"}),
    ("batch request (chat)", {"custom_id": "c", "url": "/v1/chat/completions", "body": {"messages": CHAT[:1]}}, "Hi",
     {"external_id": "c"}),
    ("batch request (prompt)", {"custom_id": "c", "body": {"instructions": "Be brief", "input": "Hi"}}, "Hi", {}),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "record", "last", "others"), RECORDS)
def test_a_record_is_recognised_and_taken_whole(
    shape: str, record: dict[str, Any], last: str, others: dict[str, Any]
) -> None:
    reading = Reading()
    prompt = canonical(record, reading)
    assert isinstance(prompt, Prompt), prompt
    assert [taken.shape for taken in reading.taken()] == [shape]
    assert prompt.messages[-1] == {"role": "user", "content": last}
    given = record.get("body", record)
    assert ("Be brief" in str(given)) == (prompt.messages[0] == {"role": "system", "content": "Be brief"})
    assert {name: getattr(prompt, name) for name in others} == others


def test_every_shape_has_a_record_here() -> None:
    assert {shape for shape, *_ in RECORDS if " " not in shape} == set(NAMES)


def test_every_shape_stands_in_the_page_on_importing() -> None:
    page = (Path(__file__).parents[3] / "docs" / "importing.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(NAMES)


def test_no_shape_hides_behind_one_that_is_tried_before() -> None:
    for place, shape in enumerate(SHAPES):
        assert not [before for before in SHAPES[:place] if set(before.keys) <= set(shape.keys)], shape.name
