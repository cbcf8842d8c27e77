"""Text from outside, made fit for a column of the database and for a sentence."""

import re

from persyn.secrets import mask

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str, limit: int | None = None) -> str:
    """The text with U+FFFD for NUL and lone surrogates, which Postgres cannot store, cut to `limit` characters."""
    clean = _UNSTORABLE.sub("\ufffd", text)
    return clean if limit is None or len(clean) <= limit else clean[: limit - 1] + "…"


def one_line(text: str, limit: int = 500) -> str:
    """The text's words with single spaces between, for the middle of a sentence."""
    return " ".join(text.split())[:limit].rstrip(" .")


def reason(exc: BaseException, limit: int = 500) -> str:
    """An exception as the end of a sentence: its type and its words on one line, without a full stop."""
    return mask(f"{type(exc).__name__}: {one_line(str(exc), limit)}")[:limit].rstrip(".")


def quoted(text: str, limit: int) -> str:
    """A server's words, for a sentence: its keys are masked before it is cut, which might leave half of one."""
    return storable(mask(text.strip()), limit)
