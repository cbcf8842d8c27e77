"""`rewards.pooling` against a real HTTP server that answers as vLLM's does; the real one is in tests/integration."""

import asyncio
import math
from typing import Any

import pytest

from persyn.errors import RequestFailed
from persyn.inference.clients.pooling import PoolingClient


def score(server: Any, *, suffix: str = "", url: str | None = None) -> float:
    async def ask() -> float:
        client = PoolingClient((url or server.url) + suffix, "rm", api_key="sk-secret")
        try:
            return await client.score([5, 6, 7])
        finally:
            await client.aclose()

    return asyncio.run(ask())


def failure(server: Any, **options: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        score(server, **options)
    assert "sk-secret" not in str(caught.value)
    assert str(caught.value).startswith("rm at http://127.0.0.1:")
    return caught.value


def gives(server: Any, *probs: Any) -> None:
    server.reply = lambda asked: (200, {"data": [{"index": 0, "probs": list(probs)}]}, {})


@pytest.fixture(autouse=True)
def _replies(scripted: Any) -> None:
    gives(scripted, -3.25)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_ids_go_out_as_they_are_and_the_raw_number_comes_back(scripted: Any, suffix: str) -> None:
    assert score(scripted, suffix=suffix) == -3.25
    [(path, headers, body)] = scripted.asked
    assert path == "/classify"
    assert headers["authorization"] == "Bearer sk-secret"
    assert body == {"model": "rm", "input": [[5, 6, 7]], "use_activation": False, "add_special_tokens": False}


def test_a_number_that_is_not_finite_is_passed_on_to_be_refused_by_its_reader(scripted: Any) -> None:
    gives(scripted, math.nan)
    assert math.isnan(score(scripted))


@pytest.mark.parametrize(
    ("status", "message", "code", "permanent"),
    [
        (400, "This model's maximum context length is 64 tokens.", "context_too_long", True),
        (400, "bad input", "bad_request", True),
        (401, "wrong key sk-secret", "refused_auth", True),
        (404, "The model `rm` does not exist.", "model_not_found", True),
        (503, "loading", "server_error", False),
    ],
)
def test_refusals_have_a_teachers_codes(scripted: Any, status: int, message: str, code: str, permanent: bool) -> None:
    scripted.refuses(status, message)
    failed = failure(scripted)
    assert (failed.code, failed.permanent, failed.retry_after_s) == (code, permanent, None)


def test_the_servers_wish_to_wait_is_passed_on(scripted: Any) -> None:
    scripted.refuses(429, "slow down", **{"Retry-After": "7"})
    failed = failure(scripted)
    assert (failed.code, failed.permanent, failed.retry_after_s) == ("rate_limited", False, 7.0)


def test_nobody_listening_is_a_connection_failure(scripted: Any) -> None:
    failed = failure(scripted, url="http://127.0.0.1:9")  # the discard port
    assert (failed.code, failed.permanent) == ("connection", False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": []}', b'{"data": [{"probs": []}]}', b"[" * 100_000])
def test_what_is_no_classification_is_garbage_and_tried_again(scripted: Any, body: bytes) -> None:
    scripted.reply = lambda asked: (200, body, {})
    failed = failure(scripted)
    assert (failed.code, failed.permanent) == ("garbage", False)


def test_a_classifier_of_several_labels_is_no_reward_model(scripted: Any) -> None:
    gives(scripted, 0.1, 0.9)
    failed = failure(scripted)
    assert (failed.code, failed.permanent) == ("not_a_reward_model", True)
