"""Requests as they leave, and replies that no stub gives, over real HTTP."""

import asyncio
import json
import threading
from typing import Any

import pytest

from persyn.config import Sampling
from persyn.errors import RequestFailed
from persyn.inference.clients.chat_completions import FRAME_BYTES, TOKEN_BYTES, Completion, TeacherClient

MESSAGES = [{"role": "user", "content": "2+2?"}]
WISH = {"type": "json_object"}


def ask(server: Any, sampling: Sampling | None = None, times: int = 1, **options: Any) -> Completion:
    wish = options.pop("response_format", None)

    async def with_client() -> Completion:
        client = TeacherClient(server.url + "/v1", "m", **options)
        try:
            for _ in range(times):
                answer = await client.generate(MESSAGES, sampling or Sampling(), 7, response_format=wish)
            return answer
        finally:
            await client.aclose()

    return asyncio.run(with_client())


def sent(server: Any, **sampling: Any) -> dict[str, Any]:
    """The body of the request, without what every request has."""
    ask(server, Sampling(**sampling))
    body = dict(server.asked[-1].body)
    assert (body.pop("model"), body.pop("messages")) == ("m", MESSAGES)
    return body


@pytest.fixture(autouse=True)
def _replies(scripted: Any) -> None:
    scripted.says("4")


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, {"temperature": 0.0, "top_p": 1.0, "max_tokens": 1024}),
        ({"temperature": 0.6}, {"temperature": 0.6, "top_p": 1.0, "max_tokens": 1024, "seed": 7}),
        # The caller has asked `seed_of` already: of several answers each has a seed of its own.
        ({"temperature": 0.6, "seed": 3}, {"temperature": 0.6, "top_p": 1.0, "max_tokens": 1024, "seed": 7}),
        ({"temperature": 0.6, "seed": None}, {"temperature": 0.6, "top_p": 1.0, "max_tokens": 1024}),
        # A model that takes no temperature, asked for its limit under the other name.
        ({"temperature": None, "seed": None, "max_completion_tokens": 64}, {"max_completion_tokens": 64}),
        (
            {"top_k": 20, "min_p": 0.1, "presence_penalty": 1.5, "repetition_penalty": 1.05, "stop": ["\n"]},
            {
                "temperature": 0.0, "top_p": 1.0, "max_tokens": 1024, "top_k": 20, "min_p": 0.1, "stop": ["\n"],
                "presence_penalty": 1.5, "repetition_penalty": 1.05,
            },
        ),
        (
            {
                "temperature": None, "seed": None, "reasoning_effort": "low", "response_format": WISH,
                "chat_template_kwargs": {"enable_thinking": False}, "extra_body": {"provider": {"order": ["x"]}},
            },
            {
                "max_tokens": 1024, "reasoning_effort": "low", "response_format": WISH,
                "chat_template_kwargs": {"enable_thinking": False}, "provider": {"order": ["x"]},
            },
        ),
    ],
)  # fmt: skip
def test_a_request_holds_what_the_sampling_says_and_no_more(
    scripted: Any, sampling: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(scripted, **sampling) == expected


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("body", "tools", "expected"),
    [
        (None, [TOOL], {"tools": [TOOL]}),
        ({"tool_choice": "required"}, [TOOL], {"tools": [TOOL], "tool_choice": "required"}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, [], {}),  # a prompt without tools in the same set
        ({"tools": [{"type": "web_search"}]}, [TOOL], {"tools": [{"type": "web_search"}, TOOL]}),
    ],
)
def test_a_prompts_tools_are_sent_with_it(scripted: Any, body: Any, tools: Any, expected: dict[str, Any]) -> None:
    async def asked() -> None:
        client = TeacherClient(scripted.url + "/v1", "m")
        await client.generate(MESSAGES, Sampling(extra_body=body), 7, tools=tools)
        await client.aclose()

    asyncio.run(asked())
    assert scripted.asked[-1].body == expected | {
        "model": "m", "messages": MESSAGES, "temperature": 0.0, "top_p": 1.0, "max_tokens": 1024,
    }  # fmt: skip


def test_headers_and_key_are_sent_and_a_header_of_ones_own_wins(scripted: Any) -> None:
    ask(scripted, api_key="sk-0123456789", headers={"X-Team": "a"})
    assert scripted.asked[-1].headers["authorization"] == "Bearer sk-0123456789"
    assert scripted.asked[-1].headers["x-team"] == "a"
    ask(scripted, api_key="sk-0123456789", headers={"authorization": "Basic abc"})
    assert scripted.asked[-1].headers["authorization"] == "Basic abc"


def test_an_address_keeps_its_query(scripted: Any) -> None:
    async def once() -> None:
        client = TeacherClient(scripted.url + "/openai/v1/?api-version=1", "m")
        await client.generate(MESSAGES, Sampling(), 0)
        await client.aclose()

    asyncio.run(once())
    assert scripted.asked[-1].path == "/openai/v1/chat/completions?api-version=1"


def refuses(server: Any, name: str, message: str) -> None:
    """Answer only what does not hold this key."""
    good = server.reply

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        refused: tuple[int, Any, dict[str, str]] = (400, {"error": {"message": message}}, {})
        return refused if name in asked.body else good(asked)

    server.reply = reply


def test_the_limit_goes_by_its_other_name_where_the_server_asks_for_it(scripted: Any) -> None:
    refuses(scripted, "max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert ask(scripted, Sampling(max_tokens=64), times=2).text == "4"
    names = [sorted(asked.body.keys() & {"max_tokens", "max_completion_tokens"}) for asked in scripted.asked]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]
    assert scripted.asked[-1].body["max_completion_tokens"] == 64


def test_a_wish_for_a_format_is_dropped_where_the_server_takes_none(scripted: Any) -> None:
    refuses(scripted, "response_format", "response_format is not supported")
    assert ask(scripted, times=2, response_format=WISH).text == "4"
    assert ["response_format" in asked.body for asked in scripted.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("max_tokens", "Use 'max_completion_tokens' in place of 'max_tokens'."),
        ("response_format", "no response_format"),
    ],
)
def test_what_one_request_learns_counts_for_those_that_were_sent_beside_it(
    scripted: Any, name: str, message: str
) -> None:
    refuses(scripted, name, message)
    refused, all_sent = scripted.reply, threading.Barrier(3)

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        if name in asked.body:
            all_sent.wait(timeout=60)
        answer: tuple[int, Any, dict[str, str]] = refused(asked)
        return answer

    async def three_at_once() -> list[str]:
        client = TeacherClient(scripted.url + "/v1", "m")
        asked = (client.generate(MESSAGES, Sampling(), 7, response_format=WISH) for _ in range(3))
        answers = await asyncio.gather(*asked)
        await client.aclose()
        return [answer.text for answer in answers]

    scripted.reply = reply
    assert asyncio.run(three_at_once()) == ["4", "4", "4"]
    assert [name in asked.body for asked in scripted.asked] == [True] * 3 + [False] * 3


def test_a_format_that_the_sampling_asks_for_is_no_wish(scripted: Any) -> None:
    refuses(scripted, "response_format", "response_format is not supported")
    with pytest.raises(RequestFailed, match="response_format is not supported") as failed:
        ask(scripted, Sampling(response_format={"type": "json_object"}))
    assert (failed.value.code, failed.value.permanent, len(scripted.asked)) == ("bad_request", True, 1)


def test_a_refused_temperature_says_how_to_send_none(scripted: Any) -> None:
    refuses(scripted, "temperature", "Unsupported parameter: 'temperature'")
    with pytest.raises(RequestFailed, match=r"`temperature: null` in the teacher's sampling leaves it out"):
        ask(scripted)
    assert ask(scripted, Sampling(temperature=None)).text == "4"


def failure(server: Any, status: int, body: Any, **options: Any) -> RequestFailed:
    server.reply = lambda asked: (status, body, {})
    with pytest.raises(RequestFailed) as caught:
        ask(server, **options)
    return caught.value


def test_an_answer_that_the_server_broke_off_is_a_failure_by_its_own_words(scripted: Any) -> None:
    half = {"message": {"content": "Half of"}, "finish_reason": "error", "error": {"code": 429, "message": "busy"}}
    failed = failure(scripted, 200, {"choices": [half]})
    assert (failed.code, failed.permanent) == ("rate_limited", False)
    assert "HTTP 200 (it says 429): busy" in str(failed)
    del half["error"]
    failed = failure(scripted, 200, {"choices": [half]})
    assert (failed.code, failed.permanent) == ("server_error", False)


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, {"choices": []}), (202, {"status": "pending"}), (200, b"[" * 100_000)]
)
def test_what_is_no_completion_names_the_status(scripted: Any, status: int, body: Any) -> None:
    failed = failure(scripted, status, body)
    assert (failed.code, failed.permanent) == ("garbage", False)
    assert f"HTTP {status}: " in str(failed)


def test_an_answer_longer_than_its_tokens_can_be_is_not_read_to_its_end(scripted: Any) -> None:
    allowed = FRAME_BYTES + 10 * TOKEN_BYTES
    whole = {"choices": [{"message": {"content": "x" * (allowed - 100)}}]}
    scripted.reply = lambda asked: (200, whole, {})
    assert len(ask(scripted, Sampling(max_tokens=10)).text) == allowed - 100
    failed = failure(scripted, 200, b"x" * (allowed + 100_000), sampling=Sampling(max_tokens=10))
    assert (failed.code, failed.permanent) == ("answer_too_large", True)


def test_a_key_that_comes_back_in_an_answer_is_masked(scripted: Any) -> None:
    scripted.says("You sent sk-0123456789abcdef.")
    assert ask(scripted, api_key="sk-0123456789abcdef").text == "You sent ***."
    scripted.refuses(400, json.dumps({"authorization": "Bearer sk-0123456789abcdef"}))
    with pytest.raises(RequestFailed) as failed:
        ask(scripted, api_key="sk-0123456789abcdef")
    assert "sk-0123456789" not in str(failed.value)
