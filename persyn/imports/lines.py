"""Lines of bytes from a file of any size, in flat memory.

Text files are cut into lines before they are decoded, so that a bad or endless line spoils only itself. A byte order
mark may stand before any line, because files with one are put together by `cat`.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BOM = b"\xef\xbb\xbf"
SKIP_BYTES = 1 << 16


class Line(NamedTuple):
    number: int  # from 1, as an editor counts
    raw: bytes  # with its line ending; only the beginning where it is too long
    too_long: bool


def read_lines(stream: BinaryIO, max_bytes: int) -> Iterator[Line]:
    """Every line of the stream. The rest of a line longer than `max_bytes` is skipped up to the next line break."""
    number = 0
    while raw := stream.readline(max_bytes + 1):
        number += 1
        too_long = len(raw) > max_bytes and not raw.endswith(b"\n")
        if too_long:
            _skip_line(stream)
        yield Line(number, raw.removeprefix(BOM), too_long)


def _skip_line(stream: BinaryIO) -> None:
    while (part := stream.readline(SKIP_BYTES)) and not part.endswith(b"\n"):
        pass
