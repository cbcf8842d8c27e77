from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from persyn.config import fingerprint
from persyn.inference.servers.server import Server, ServerSpec


@pytest.fixture
def http(stub_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stub_server.base_url.removesuffix("/v1")) as client:
        yield client


def chat(http: httpx.Client, text: str, **more: Any) -> httpx.Response:
    body = {"model": "stub-model", "messages": [{"role": "user", "content": text}], **more}
    return http.post("/v1/chat/completions", json=body)


def test_what_was_asked_is_counted_by_the_messages_hash(http: httpx.Client) -> None:
    for _ in range(3):
        chat(http, "asked three times")
    key = fingerprint([{"role": "user", "content": "asked three times"}])
    assert http.get("/stub/seen").json()["times_by_sha256"][key] == 3


def test_a_marker_with_a_count_fails_that_often_and_then_never_again(http: httpx.Client) -> None:
    assert [chat(http, "[[stub:500*2]]").status_code for _ in range(4)] == [500, 500, 200, 200]


def test_a_misspelt_marker_is_answered_with_the_known_ones(http: httpx.Client) -> None:
    response = chat(http, "[[stub:explode]]")
    assert response.status_code == 400
    assert "no-choices" in response.json()["error"]["message"]


def test_a_request_that_is_no_chat_is_refused_in_the_protocols_form(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": "stub-model"})
    assert response.status_code == 400
    assert "messages" in response.json()["error"]["message"]


def test_its_behaviour_changes_while_it_runs(http: httpx.Client) -> None:
    before = http.get("/stub/config").json()
    try:
        http.post("/stub/config", json={"answer": "The answer is 4.", "failures": {"429": 0.5}})
        statuses = [chat(http, "changed").status_code for _ in range(40)]
        assert set(statuses) == {200, 429}
        http.post("/stub/config", json={"failures": {}})
        assert chat(http, "changed").json()["choices"][0]["message"]["content"] == "The answer is 4."
    finally:
        http.post("/stub/config", json=before)


def test_a_wrong_configuration_changes_nothing(http: httpx.Client) -> None:
    before = http.get("/stub/config").json()
    assert http.post("/stub/config", json={"latency_s": -1}).status_code == 400
    assert http.post("/stub/config", json={"failures": {"explode": 1}}).status_code == 400
    assert http.get("/stub/config").json() == before


def test_two_stubs_answer_alike_for_the_same_model_and_not_for_another(home: Path) -> None:
    specs = [ServerSpec(name, revision=None, dtype="auto", max_model_len=None, args=(), kind="stub") for name in "ab"]
    texts = []
    for spec in (*specs, specs[0]):
        server = Server.start(spec, home)
        try:
            body = {"model": spec.model, "messages": [{"role": "user", "content": "p"}]}
            response = httpx.post(f"{server.base_url}/chat/completions", json=body)
            texts.append(response.json()["choices"][0]["message"]["content"])
        finally:
            server.stop()
    assert texts[0] == texts[2] != texts[1]


def test_each_request_is_logged_with_how_it_ended(http: httpx.Client) -> None:
    before = max((seen["number"] for seen in http.get("/stub/requests").json()), default=0)
    for text in ("logged", "logged", "[[stub:500]] logged"):
        chat(http, text)
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            "/v1/chat/completions", timeout=0.2,
            json={"model": "stub-model", "messages": [{"role": "user", "content": "[[stub:hang]] logged"}]},
        )  # fmt: skip
    seen = http.get("/stub/requests", params={"after": before}).json()
    assert [(each["times"], each["failure"], each["outcome"]) for each in seen][:3] == [
        (1, None, "200"),
        (2, None, "200"),
        (1, "500", "500"),
    ]
    assert seen[3]["failure"] == "hang"
    assert seen[3]["outcome"] in ("running", "gone")


def test_lengths_are_spread_where_a_spread_is_asked_for(http: httpx.Client) -> None:
    before = http.get("/stub/config").json()
    try:
        http.post("/stub/config", json={"answer_tokens": 50, "answer_sigma": 0.8})
        usages = [chat(http, f"spread {n}", max_tokens=200).json()["usage"]["completion_tokens"] for n in range(30)]
        assert len(set(usages)) > 10
        assert 20 < sorted(usages)[15] < 110
    finally:
        http.post("/stub/config", json=before)


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


def test_a_call_is_one_of_the_tools_that_the_request_offers(http: httpx.Client) -> None:
    choice = chat(http, "[[stub:tool-call]]", tools=[TOOL]).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "so", "days": 1}'}


def test_it_can_refuse_tools_as_vllm_does_without_a_parser(http: httpx.Client) -> None:
    http.post("/stub/config", json={"takes_tools": False})
    try:
        refused = chat(http, "with tools", tools=[TOOL])
        assert refused.status_code == 400
        assert "--tool-call-parser" in refused.json()["error"]["message"]
        assert chat(http, "without tools").status_code == 200
    finally:
        http.post("/stub/config", json={"takes_tools": True})
