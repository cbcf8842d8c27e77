import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx
import pytest

from persyn.config import Sampling
from persyn.errors import RequestFailed
from persyn.inference.clients.chat_completions import Completion, TeacherClient
from persyn.inference.servers.server import Server

T = TypeVar("T")
GREEDY = Sampling(max_tokens=64)


def run(server: Server, work: Callable[[TeacherClient], Coroutine[Any, Any, T]], **options: Any) -> T:
    async def with_client() -> T:
        client = TeacherClient(server.base_url, options.pop("model", server.model_name), **options)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(with_client())


def ask(server: Server, text: str, sampling: Sampling = GREEDY, seed: int = 0, **options: Any) -> Completion:
    messages = [{"role": "user", "content": text}]
    return run(server, lambda client: client.generate(messages, sampling, seed), **options)


def failure(server: Server, text: str, **options: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        ask(server, text, **options)
    return caught.value


def test_an_answer_comes_with_its_counts(stub_server: Server) -> None:
    answer = ask(stub_server, "two and two")
    assert len(answer.text.split()) == answer.completion_tokens == 16
    assert (answer.prompt_tokens, answer.finish_reason, answer.reasoning) == (3, "stop", None)
    assert answer.latency_s > 0


def test_max_tokens_cuts_the_answer_and_says_so(stub_server: Server) -> None:
    answer = ask(stub_server, "two and two", Sampling(max_tokens=5))
    assert (answer.completion_tokens, answer.finish_reason) == (5, "length")


def test_the_seed_matters_only_when_something_is_drawn(stub_server: Server) -> None:
    drawn = Sampling(temperature=1.0)
    assert ask(stub_server, "p", GREEDY, seed=1).text == ask(stub_server, "p", GREEDY, seed=2).text
    assert ask(stub_server, "p", drawn, seed=1).text == ask(stub_server, "p", drawn, seed=1).text
    assert ask(stub_server, "p", drawn, seed=1).text != ask(stub_server, "p", drawn, seed=2).text


def test_an_empty_answer_is_an_answer(stub_server: Server) -> None:
    answer = ask(stub_server, "[[stub:empty]]")
    assert (answer.text, answer.completion_tokens) == ("", 0)


@pytest.mark.parametrize(
    ("marker", "text", "reasoning", "finish_reason"),
    [
        ("blank", " \n ", None, "stop"),
        ("filtered", "", None, "content_filter"),
        ("refusal", "I will not do this.", None, "refusal"),
        ("tool-call", "", None, "tool_calls"),
        ("unfinished", "", "First I look, then", "length"),
    ],
)
def test_what_is_no_answer_is_kept_with_its_reason(
    stub_server: Server, marker: str, text: str, reasoning: str | None, finish_reason: str
) -> None:
    answer = ask(stub_server, f"[[stub:{marker}]]")
    assert (answer.text, answer.reasoning, answer.finish_reason) == (text, reasoning, finish_reason)


def test_thoughts_and_answer_are_told_apart(stub_server: Server) -> None:
    answer = ask(stub_server, "[[stub:thoughts]]")
    assert (answer.reasoning, len(answer.text.split())) == ("First I look.", 16)


def test_tokens_that_nobody_counted_are_unknown(stub_server: Server) -> None:
    answer = ask(stub_server, "[[stub:uncounted]]")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.tokens) == (None, None, 0)


def test_characters_that_postgres_cannot_store_are_replaced(stub_server: Server) -> None:
    assert ask(stub_server, "[[stub:nul]]").text.endswith("\ufffd\ufffd")


@pytest.mark.parametrize(
    ("marker", "code", "permanent"),
    [
        ("400", "bad_request", True),
        ("400-context", "context_too_long", True),
        ("401", "refused_auth", True),
        ("402", "out_of_credit", True),
        ("403", "refused_auth", True),
        ("403-moderated", "refused_content", True),
        ("404", "model_not_found", True),
        ("429-in-200", "rate_limited", False),
        ("broken-off", "server_error", False),
        ("429", "rate_limited", False),
        ("500", "server_error", False),
        ("503", "server_error", False),
        ("cut", "connection", False),
        ("garbage", "garbage", False),
        ("no-choices", "garbage", False),
    ],
)
def test_every_failure_has_its_code(stub_server: Server, marker: str, code: str, permanent: bool) -> None:
    failed = failure(stub_server, f"[[stub:{marker}]]")
    assert (failed.code, failed.permanent) == (code, permanent)


@pytest.mark.parametrize("marker", ["slow", "hang"])
def test_no_answer_in_time_is_a_timeout(stub_server: Server, marker: str) -> None:
    failed = failure(stub_server, f"[[stub:{marker}]]", timeout_s=0.3)
    assert (failed.code, failed.permanent) == ("timeout", False)


def test_a_prompt_longer_than_the_context_is_refused_for_good(stub_server: Server) -> None:
    assert failure(stub_server, "word " * 200).code == "context_too_long"


def test_a_wrong_model_name_is_told(stub_server: Server) -> None:
    failed = failure(stub_server, "p", model="other-model")
    assert failed.code == "model_not_found"
    assert str(failed).startswith("other-model at http://127.0.0.1:")


def test_nobody_listening_is_a_connection_failure() -> None:
    async def attempt() -> None:
        client = TeacherClient("http://127.0.0.1:9/v1", "m")  # the discard port: nothing listens
        try:
            await client.generate([{"role": "user", "content": "p"}], GREEDY, 0)
        finally:
            await client.aclose()

    with pytest.raises(RequestFailed) as caught:
        asyncio.run(attempt())
    assert (caught.value.code, caught.value.permanent) == ("connection", False)


@pytest.mark.parametrize(("marker", "seconds"), [("429", 1.0), ("503", 1.0), ("500", None)])
def test_the_servers_wish_to_wait_is_passed_on(stub_server: Server, marker: str, seconds: float | None) -> None:
    assert failure(stub_server, f"[[stub:{marker}]]").retry_after_s == seconds


def test_a_failure_is_not_retried_here(stub_server: Server) -> None:
    def requests() -> int:
        count: int = httpx.get(stub_server.base_url.removesuffix("/v1") + "/stub/seen").json()["requests"]
        return count

    before = requests()
    failure(stub_server, "[[stub:500]] once")
    assert requests() == before + 1


def test_a_message_is_short_and_holds_no_key(stub_server: Server) -> None:
    failed = failure(stub_server, "[[stub:sk-secret]]" + "x" * 50, api_key="sk-secret")
    assert "sk-secret" not in str(failed)
    assert "***" in str(failed)
    assert len(str(failed)) <= 500


def test_256_requests_are_in_flight_at_once(stub_server: Server) -> None:
    async def flood(client: TeacherClient) -> int:
        hanging = [
            asyncio.ensure_future(client.generate([{"role": "user", "content": f"[[stub:hang]] {i}"}], GREEDY, 0))
            for i in range(256)
        ]
        async with httpx.AsyncClient(base_url=stub_server.base_url.removesuffix("/v1")) as http:
            running = 0
            while running < 256:  # pytest's timeout ends this where it never happens
                metrics = (await http.get("/metrics")).text
                running = int(float(metrics.split("num_requests_running", 1)[1].split("} ", 1)[1].split("\n", 1)[0]))
                assert not any(future.done() for future in hanging)
        for future in hanging:
            future.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return running

    assert run(stub_server, flood) >= 256
