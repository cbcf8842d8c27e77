"""Keys that this process knows, and the mask over them in every text that leaves it.

A key is masked however a library or a server spells it (as it is, escaped, URL-quoted, in base64), and a long part of
it as well, because messages are cut. Errors, log records and texts from outside pass `mask`.
"""

import base64
import logging
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 6  # what is shorter is no key
_SHORTEST_IN_ANSWERS = 16  # local servers take any word for a key, and an answer may hold that word
_PART = 12  # characters of a key that betray it
_STEP = 4  # so any run of _PART + _STEP - 1 characters of a longer key holds a part that is looked for

_spellings: set[str] = set()


def know(secret: str) -> None:
    """Mask this text from now on."""
    if len(secret.strip()) >= SHORTEST:
        _spellings.update(_spelt(secret.strip()))


def mask(text: str) -> str:
    """The text with `***` for every key, and for every long part of one."""
    masked = text
    for spelling in sorted(_spellings, key=len, reverse=True):
        masked = _without(masked, spelling)
    # Two spellings of one key may each have masked a part of it.
    return text if masked == text else masked.replace(MASK * 2, MASK)


def mask_answer(text: str) -> str:
    """An answer with `***` for every long key that stands in it whole: a server may repeat what it was sent."""
    for spelling in _spellings:
        if len(spelling) >= _SHORTEST_IN_ANSWERS:
            text = text.replace(spelling, MASK)
    return text


class MaskedLog(logging.Filter):
    """Masks a handler's records, their tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), None
        if record.exc_info:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
        return True


def _spelt(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    escaped = {repr(secret)[1:-1], repr(raw)[2:-1], ascii(secret)[1:-1], secret.replace('"', '\\"')}
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    encoded = {_base64(raw, ahead) for ahead in range(3)}
    encoded |= {text.replace("+", "-").replace("/", "_") for text in encoded}
    return {secret, *escaped, *quoted, *(text for text in encoded if len(text) >= SHORTEST)}


def _base64(raw: bytes, ahead: int) -> str:
    """The characters of base64 that `raw` alone decides, where `ahead` bytes precede it in its group of three."""
    text = base64.b64encode(bytes(ahead) + raw).decode().rstrip("=")
    first = (ahead * 8 + 5) // 6
    last = len(text) - (1 if (ahead + len(raw)) % 3 else 0)
    return text[first:last]


def _without(text: str, secret: str) -> str:
    width = min(_PART, len(secret))
    for start in range(0, len(secret) - width + 1, _STEP):
        part = secret[start : start + width]
        while (at := text.find(part)) >= 0:
            begin, end = _grown(text, at, at + width, secret[:start], secret[start + width :])
            text = text[:begin] + MASK + text[end:]
    return text


def _grown(text: str, begin: int, end: int, before: str, after: str) -> tuple[int, int]:
    """The borders of a found part, moved outwards over what the text has of the key before and after it."""
    for wanted in reversed(before):
        if begin == 0 or text[begin - 1] != wanted:
            break
        begin -= 1
    for wanted in after:
        if end == len(text) or text[end] != wanted:
            break
        end += 1
    return begin, end
