import base64
import io
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn import secrets
from persyn.errors import EndpointPaused, RequestFailed
from persyn.text import quoted, reason

KEY = 'sk-live-"quoted"/ANN+SECRET%0123456789'


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    before = set(secrets._spellings)
    secrets.know(KEY)
    yield
    secrets._spellings.clear()
    secrets._spellings.update(before)


@pytest.mark.parametrize(
    "spelt",
    [
        KEY,
        repr(f"Bearer {KEY}\n"),
        repr(f"Bearer {KEY}\n".encode()),
        quote(KEY),
        quote(KEY, safe=""),
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(f"ann:{KEY}".encode()).decode(),  # one of the three ways to fall into groups of three
        base64.urlsafe_b64encode(f"a:{KEY}:x".encode()).decode(),
        KEY[:25],  # a message that was cut
        KEY[-20:],
        "…" + KEY[8:30] + "…",
    ],
)
def test_a_key_is_masked_however_it_is_spelt(spelt: str) -> None:
    masked = secrets.mask(f"refused: {spelt} is wrong")
    assert masked.startswith("refused: ")
    assert secrets.MASK in masked
    assert not any(part in masked for part in ("ANN", "SECRET", "0123456789", spelt))


def test_what_is_no_key_stays_as_it_is() -> None:
    secrets.know("key")  # too short to be one
    secrets.know("")
    text = "the key of a teacher is not set: sk-live-"
    assert secrets.mask(text) == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_around_a_key_brings_it_out(before: str, after: str) -> None:
    assert KEY not in secrets.mask(before + KEY + after)


def test_white_space_at_its_ends_hides_no_key() -> None:
    secrets.know("  sk-other-0123456789\n")
    assert secrets.mask("key sk-other-0123456789.") == "key ***."


def test_no_error_and_no_text_from_outside_holds_it() -> None:
    said = [
        str(RequestFailed("refused_auth", f"no {KEY}", permanent=True)),
        str(EndpointPaused(f"no {KEY}", 3.0)),
        reason(ValueError(f"no {KEY}")),
        quoted(f"no {KEY}"[:-3], 10),
    ]
    assert said == ["no ***", "no ***", "ValueError: no ***", "no ***"]


def test_a_word_that_a_local_server_takes_for_a_key_spoils_no_answer() -> None:
    secrets.know("lm-studio")
    assert secrets.mask("Install lm-studio.") == "Install ***."
    assert secrets.mask_answer("Install lm-studio.") == "Install lm-studio."
    assert secrets.mask_answer(f"You sent {KEY}.") == "You sent ***."


def test_no_line_of_a_log_holds_it_nor_a_traceback() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(secrets.MaskedLog())
    log = logging.Logger("masked")
    log.addHandler(handler)
    try:
        raise ValueError(f"Illegal header value {KEY.encode()!r}")
    except ValueError:
        log.exception("asking with %s", KEY)
    assert "asking with ***" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "ANN" not in stream.getvalue()
