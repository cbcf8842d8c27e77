"""Conversations that are written otherwise than as turns with role and content."""

import json
from typing import Any

import pytest

from persyn.imports.conversation import SourceAnswer, conversation
from persyn.imports.dialogues import spoken
from persyn.imports.fields import Refused
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.reading import Reading


def said(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


def prompt_of(record: dict[str, Any]) -> Prompt:
    prompt = canonical(record, Reading())
    assert isinstance(prompt, Prompt), prompt
    return prompt


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c: d", said("a", "b", "c: d")),
        ("\n\nHuman: two\n\nparagraphs\nHuman: no turn\n\nAssistant:", said("two\n\nparagraphs\nHuman: no turn", "")),
        ("USER: a\n\n\nASSISTANT: b <|endoftext|>\n\n\nUSER: c\n\n\n", said("a", "b", "c")),
        ("### Human: a### Assistant: b", said("a", "b")),
        ("### Human: a\n### Assistant: b\n### Human: c", said("a", "b", "c")),
        ("A Human: no dialogue", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_text_with_its_speakers_names_is_a_list_of_turns(text: str, turns: Any) -> None:
    assert spoken(text) == turns


def test_the_last_answer_of_a_dialogue_is_cut_off() -> None:
    found = conversation("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d\n\nd", "chosen")
    assert found.messages == said("a", "b", "c")
    assert found.answer == SourceAnswer("d\n\nd")


@pytest.mark.parametrize("text", ["Just a text", "Assistant: hello\n\nHuman: hi", "\n\nHuman: a\n\nHuman: b"])
def test_a_text_that_is_no_dialogue_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(Refused, match=r"not a list of messages, nor a text with Human: |roles must go user"):
        conversation(text, "chosen")


def test_a_call_in_a_dialogue_is_a_call_and_its_result_a_result() -> None:
    record = {
        "system": 'SYSTEM: Functions -\n{"name": "rate", "parameters": {"type": "object"}}\n\n{"name": "time"}\n',
        "chat": 'USER: How much?\n\n\nASSISTANT: <functioncall> {"name": "rate", "arguments": '
        '\'{"to": "EUR", "note": "it\'s"}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"rate": 0.85}\n\n\nASSISTANT: 0.85 euros. <|endoftext|>\n\n\n',
    }
    prompt = prompt_of(record)
    system, user, call, result = prompt.messages
    assert (system["content"], user["content"]) == ("Functions", "How much?")
    assert call["tool_calls"][0]["function"] == {"name": "rate", "arguments": '{"to": "EUR", "note": "it\'s"}'}
    assert result == {"role": "tool", "content": '{"rate": 0.85}', "tool_call_id": call["tool_calls"][0]["id"]}
    assert prompt.answer == SourceAnswer("0.85 euros.")
    assert [tool["function"]["name"] for tool in json.loads(prompt.tools_json or "[]")] == ["rate", "time"]


def test_a_system_text_with_a_brace_that_begins_no_function_stays_whole() -> None:
    prompt = prompt_of({"system": 'SYSTEM: Answer as\n{"mood": "good"}', "chat": "USER: Hi"})
    assert prompt.messages[0]["content"] == 'Answer as\n{"mood": "good"}'
    assert prompt.tools_json is None


def test_a_functioncall_that_is_no_call_is_refused() -> None:
    chat = "USER: Hi\n\n\nASSISTANT: <functioncall> rate(EUR)\n\n\nUSER: And?"
    assert canonical({"system": "SYSTEM: s", "chat": chat}, Reading()) == (
        "message 2 has a <functioncall> without a name and arguments as JSON"
    )


def test_geminis_contents_keep_calls_results_thoughts_and_tools() -> None:
    record = {
        "system_instruction": {"parts": [{"text": "Be"}, {"text": "brief"}]},
        "tools": [{"functionDeclarations": [{"name": "rate", "parameters": {"type": "OBJECT", "properties": {
            "to": {"type": "STRING"}}}}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "How"}, {"text": "much?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "rate", "args": {"to": "EUR"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "rate", "response": {"rate": 0.85}}}]},
            {"role": "model", "parts": [{"text": "Easy.", "thought": True}, {"text": "0.85 euros."}]},
        ],
    }  # fmt: skip
    prompt = prompt_of(record)
    system, user, call, result = prompt.messages
    assert (system["content"], user["content"]) == ("Be\nbrief", "How\nmuch?")
    assert call["tool_calls"][0]["function"] == {"name": "rate", "arguments": '{"to": "EUR"}'}
    assert (result["name"], result["content"]) == ("rate", '{"rate": 0.85}')
    assert prompt.answer == SourceAnswer("0.85 euros.", "Easy.")
    [tool] = json.loads(prompt.tools_json or "[]")
    assert tool["function"]["parameters"] == {"type": "object", "properties": {"to": {"type": "string"}}}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "…"}}]}], "message 1 has a file"),
        ([{"role": "user", "parts": [{"executableCode": {}}]}], "message 1 has a part 'executableCode'"),
        ([{"role": "user", "parts": []}], "message 1 has empty content"),
        ([{"role": "user"}], "message 1 "),
        ([7], "message 1 is not an object"),
        ([], "contents is not a list of messages"),
    ],
)
def test_geminis_parts_that_are_no_text_are_refused_by_name(contents: Any, reason: str) -> None:
    refused = canonical({"contents": contents}, Reading())
    assert isinstance(refused, str)
    assert refused.startswith(reason)


@pytest.mark.parametrize(
    ("data", "messages"),
    [(["a", "b", "c", "d"], said("a", "b", "c")), (["a"], said("a")), ([*said("a", "b")], said("a"))],
)
def test_texts_by_turns_are_a_conversation(data: Any, messages: Any) -> None:
    assert prompt_of({"id": "1", "data": data}).messages == messages


@pytest.mark.parametrize("data", [7, {}, [], ["a", 7]])
def test_data_that_are_no_texts_are_refused(data: Any) -> None:
    assert isinstance(canonical({"id": "1", "data": data}, Reading()), str)
