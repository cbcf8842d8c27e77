"""Reads what a server refuses and why: from its own words first, from the HTTP status where they say nothing.

Servers send errors under every status, 200 among them, and have no common code for a prompt that is too long, an
account without credit or a text that their moderation stops. So the wordings of many of them stand here.
"""

import re
from typing import Any, NamedTuple

from persyn.text import quoted

MESSAGE_LIMIT = 400


class Refusal(NamedTuple):
    """A refused request. `status` is the HTTP status that the body gives, or else the response's own."""

    code: str
    permanent: bool
    status: int
    message: str


# Every code, with whether it is permanent: another attempt cannot help.
PERMANENT = {
    "context_too_long": True,  # the prompt, with the tokens asked for
    "refused_content": True,  # the prompt's text
    "bad_request": True,
    "refused_auth": True,  # the key
    "out_of_credit": True,  # the account
    "model_not_found": True,
    "rate_limited": False,
    "timeout": False,
    "server_error": False,
}

_TOO_LONG = r"(?<!took )(?<!takes )(?<!taking )too (long|large)"
_CONTEXT = re.compile(
    rf"(prompt|inputs?|messages?|request|conversation|text)\b[^.]{{0,40}}\b{_TOO_LONG}"
    r"|(prompt|inputs?|messages|conversation)\b[^.]{0,40}\bexceed"
    r"|(inputs?|prompt|tokens?)[ _]?(length|tokens?|count)\b[^.]{0,60}(exceed|must be|should be|larger|greater|>)"
    r"|context[ _-]?(length|window|size|limit)|max_model_len|max_?(input|prompt|total)_?(tokens|length)"
    r"|maximum (number of )?(model |input |prompt )?(tokens|length)|too many (input |prompt )?tokens"
    r"|(reduce|shorten) (the|your) (length|prompt|input|messages?)|string_above_max_length|tokens? limit exceeded"
    r"|(exceeds?|above|larger than|longer than)( the)? (max\w*|limit|model)[^.]{0,30}\b(tokens|length|context)",
    re.IGNORECASE,
)
_LIMITED = re.compile(r"rate.?limit|too many requests|throttl|resource.?exhausted", re.IGNORECASE)
_CREDIT = re.compile(
    r"insufficient[ _]?(quota|credits?|balance|funds)|exceeded your current quota|credit balance|out of credits?"
    r"|payment required|billing[ _](hard[ _])?(limit|not)|spend(ing)? limit|arrears",
    re.IGNORECASE,
)
_CONTENT = re.compile(
    r"moderation|flagged|content[ _]?(policy|filter|management)|safety (system|polic|setting|filter|reason)|unsafe"
    r"|responsible ?ai|usage polic|inappropriate|prohibited[ _]content|harmful|sensitive (content|information|word)"
    r"|data_inspection_failed|violat\w*[^.]{0,40}polic",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(invalid|incorrect|wrong|missing)[ _]api[ _]?key|api[ _]?key[^.]{0,20}(not valid|invalid|incorrect)",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model_not_found|\bmodel\b[^.]{0,80}(does not exist|not found|doesn'?t exist)|unknown model|no such model",
    re.IGNORECASE,
)


def refusal(status: int, body: Any, content: bytes) -> Refusal | None:
    """The server's reason for refusing; None for a success. `body`: the response's JSON, `content`: its bytes."""
    error = _error(body)
    if 200 <= status < 300 and not _says_something(error):
        return None
    message = _message(error if _says_something(error) else body)
    words = message or quoted(content.decode("utf-8", "replace"), MESSAGE_LIMIT) or "no word of explanation"
    said = _status(error, body)
    told = said or (status if status >= 400 else 0)
    named = " ".join(str(part) for part in _codes(error, body))
    code = classify(told, f"{named} {message or ''}" if message else words)
    return Refusal(code, PERMANENT[code], told or status, words)


def classify(status: int, words: str) -> str:
    """The code for an HTTP status (0: none was given) and the server's own words."""
    words = re.sub("[`'\"]", "", words)  # which some put around the names of parameters
    if status == 402 or (status not in (401, 404) and _CREDIT.search(words)):
        return "out_of_credit"
    if status == 429 or ((status in (0, 400, 403) or status >= 500) and _LIMITED.search(words)):
        return "rate_limited"
    if status == 413 or (status not in (401, 403, 404, 408) and _CONTEXT.search(words)):
        return "context_too_long"
    if status in (0, 400, 403, 422, 451) and _CONTENT.search(words):
        return "refused_content"
    if status in (401, 403) or (status in (0, 400) and _KEY.search(words)):
        return "refused_auth"
    if status == 404 or (status in (0, 400) and _MODEL.search(words)):
        return "model_not_found"
    if status == 408:
        return "timeout"
    return "server_error" if status in (0, 409, 425) or status >= 500 else "bad_request"


def _error(body: Any) -> Any:
    """The part of a response that tells an error; None where there is none."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    return body if body.get("object") == "error" else body.get("error")


def _says_something(error: Any) -> bool:
    """Whether it is an error at all: some servers send an empty one beside every answer."""
    if isinstance(error, dict):
        return any(value not in (None, "", 0, 200, "0", "200", [], {}, False) for value in error.values())
    return error is True or (isinstance(error, str) and bool(error.strip()))


def _message(value: Any) -> str | None:
    """The words of an error, wherever its server puts them."""
    if isinstance(value, str):
        return quoted(value, MESSAGE_LIMIT) or None
    if isinstance(value, list):
        parts = [part for part in map(_message, value[:5]) if part]
        return "; ".join(parts) or None
    if not isinstance(value, dict):
        return None
    metadata = value.get("metadata")
    detail = _message(metadata.get("raw")) if isinstance(metadata, dict) else None  # of the provider behind a router
    for key in ("message", "msg", "detail", "error", "reason", "title", "error_description"):
        message = _message(value.get(key))
        if message:
            return quoted(f"{message}: {detail}", MESSAGE_LIMIT) if detail else message
    return detail


def _codes(error: Any, body: Any) -> list[str]:
    places = [place for place in (error, body) if isinstance(place, dict)]
    values = [place.get(key) for place in places for key in ("code", "type", "status")]
    return [value for value in values if isinstance(value, str)]


def _status(error: Any, body: Any) -> int | None:
    """The HTTP status that a body gives for its error."""
    for place in (error, body):
        for key in ("code", "status", "status_code"):
            value = place.get(key) if isinstance(place, dict) else None
            number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
            if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600:
                return number
    return None
