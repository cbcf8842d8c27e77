import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.inference.clients.refusals import PERMANENT, refusal


def said(status: int, body: Any) -> tuple[str, str] | None:
    found = refusal(status, body, json.dumps(body).encode())
    return None if found is None else (found.code, found.message)


def code(status: int, message: str, **more: Any) -> str | None:
    found = said(status, {"error": {"message": message, **more}})
    return None if found is None else found[0]


@pytest.mark.parametrize("status", [400, 422, 500, 200])
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "prompt is too long: 9001 tokens > 8192 maximum",
        "input length and `max_tokens` exceed context limit: 8000 + 1000 > 8192",
        "The input token count (9001) exceeds the maximum number of tokens allowed (8192).",
        "`inputs` tokens + `max_new_tokens` must be <= 8192",
        "Please reduce the length of the messages.",
        "Range of input length should be [1, 8192]",
        "Input is too long for requested model.",
        "too many tokens in the prompt",
        "Prompt length (9001) exceeds maximum input length (8192).",
        "the request exceeds the available context size, try increasing it",
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "The decoder prompt (length 9001) is longer than the maximum model length of 8192.",
        "Your input exceeds the context window of this model.",
    ],
)
def test_every_wording_of_too_long_is_known(status: int, message: str) -> None:
    assert code(status, message) == "context_too_long"


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (413, "Request Entity Too Large", "context_too_long"),
        (400, "unsupported parameter: 'max_tokens'; use 'max_completion_tokens'", "bad_request"),
        (400, "temperature: 3 is not less than 2", "bad_request"),
        (504, "The request took too long to process.", "server_error"),
        (429, "Too many tokens, please wait before trying again.", "rate_limited"),
        (429, "Rate limit reached. Add a payment method under account/billing to raise it.", "rate_limited"),
        (400, "rate_limit_exceeded", "rate_limited"),
        (200, "Too many requests.", "rate_limited"),
        (402, "Payment required", "out_of_credit"),
        (429, "You exceeded your current quota, please check your plan and billing details.", "out_of_credit"),
        (400, "Your credit balance is too low to access the API.", "out_of_credit"),
        (403, "the input was flagged by moderation", "refused_content"),
        (400, "The prompt was stopped by our content management policy.", "refused_content"),
        (403, "You have no access to this model.", "refused_auth"),
        (401, "Incorrect API key provided", "refused_auth"),
        (400, "API key not valid. Please pass a valid API key.", "refused_auth"),
        (404, "The model `m` does not exist.", "model_not_found"),
        (400, "The model `m` does not exist.", "model_not_found"),
        (408, "slow", "timeout"),
        (500, "Internal error", "server_error"),
        (529, "Overloaded", "server_error"),
        (200, "the provider went away", "server_error"),
    ],
)  # fmt: skip
def test_an_error_is_what_the_server_says_it_is(status: int, message: str, expected: str) -> None:
    assert code(status, message) == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"error": {"message": "slow down", "code": 429}}, ("rate_limited", "slow down")),
        (200, {"error": {"message": "slow down", "code": "429"}}, ("rate_limited", "slow down")),
        (500, {"error": {"message": "no such key", "code": 401}}, ("refused_auth", "no such key")),
        (200, {"error": "upstream failed", "choices": None}, ("server_error", "upstream failed")),
        (200, {"object": "error", "message": "bad", "code": 400}, ("bad_request", "bad")),
        (400, {"object": "error", "message": "bad", "code": 400}, ("bad_request", "bad")),
        (400, [{"error": {"message": "bad", "status": "INVALID_ARGUMENT"}}], ("bad_request", "bad")),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, ("bad_request", "field required")),
        (503, {"detail": "loading"}, ("server_error", "loading")),
        (429, {"error": {"message": "no", "type": "insufficient_quota"}}, ("out_of_credit", "no")),
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}, ("context_too_long", "no")),
        (
            403,
            {"error": {"message": "Provider returned error", "metadata": {"raw": "flagged for violence"}}},
            ("refused_content", "Provider returned error: flagged for violence"),
        ),
        (500, None, ("server_error", "null")),
        # No error at all: what some servers send beside each answer.
        (200, {"choices": []}, None),
        (200, {"error": None, "choices": []}, None),
        (200, {"error": "", "choices": []}, None),
        (200, {"error": {"code": 0, "message": ""}, "choices": []}, None),
        (200, [], None),
    ],
)
def test_an_error_is_found_wherever_it_stands(status: int, body: Any, expected: tuple[str, str] | None) -> None:
    assert said(status, body) == expected


def test_a_body_that_is_no_json_speaks_for_itself() -> None:
    found = refusal(502, None, b"<html>Bad gateway")
    assert found is not None
    assert (found.code, found.status, found.message) == ("server_error", 502, "<html>Bad gateway")
    empty = refusal(503, None, b"")
    assert empty is not None
    assert empty.message == "no word of explanation"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["error", "message", "code", "status", "detail", "metadata", "raw", "type", "object"]), inner
    ),
    max_leaves=10,
)  # fmt: skip


@given(st.integers(200, 599), anything)
def test_any_body_is_read_and_every_error_has_a_code(status: int, body: Any) -> None:
    found = refusal(status, body, b"x")
    assert found is not None or 200 <= status < 300
    if found is not None:
        assert found.code in PERMANENT
        assert found.message
