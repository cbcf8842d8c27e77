"""The excerpts of records that are shown to people."""

import json

from persyn.imports.records import excerpt


def test_an_excerpt_is_short_and_can_be_stored_whatever_the_bytes() -> None:
    assert excerpt(b"a\xff\x00b\r\n") == "a\\xff\x00b"
    assert len(excerpt(b"x" * 10_000)) == 200
    assert json.dumps(excerpt({"a": "\ud800"}))
