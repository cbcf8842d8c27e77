"""Cutting bytes into lines, whatever the bytes are."""

import io
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from persyn.imports.lines import read_lines


class Endless(io.RawIOBase):
    """A stream of `size` bytes without a line break that never exists in memory as a whole."""

    def __init__(self, size: int, tail: bytes) -> None:
        self.left = size
        self.tail = tail

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        count = min(len(buffer), self.left)
        if count:
            buffer[:count] = b"x" * count
            self.left -= count
            return count
        tail, self.tail = self.tail[: len(buffer)], self.tail[len(buffer) :]
        buffer[: len(tail)] = tail
        return len(tail)


def test_lines_are_numbered_from_one_and_blank_ones_count() -> None:
    lines = list(read_lines(io.BytesIO(b"a\n\nb"), 10))
    assert [(line.number, line.raw) for line in lines] == [(1, b"a\n"), (2, b"\n"), (3, b"b")]


def test_a_byte_order_mark_before_any_line_is_none_of_it() -> None:
    bom = b"\xef\xbb\xbf"
    assert [line.raw for line in read_lines(io.BytesIO(bom + b"a\n" + bom + b"b\n"), 10)] == [b"a\n", b"b\n"]


def test_a_line_of_exactly_the_limit_is_kept() -> None:
    assert [line.too_long for line in read_lines(io.BytesIO(b"12345\n12345"), 5)] == [False, False]


def test_a_line_above_the_limit_is_skipped_and_the_next_one_is_whole() -> None:
    lines = list(read_lines(io.BytesIO(b"123456789\nnext\n"), 5))
    assert [(line.number, line.too_long) for line in lines] == [(1, True), (2, False)]
    assert lines[1].raw == b"next\n"


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert next(read_lines(io.BytesIO(b"\xef\xbb\xbf{}\n"), 10)).raw == b"{}\n"


def test_an_endless_line_is_skipped_in_flat_memory() -> None:
    stream = io.BufferedReader(Endless(50_000_000, b"\nnext\n"))  # type: ignore[type-var]
    tracemalloc.start()
    lines = list(read_lines(stream, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line.too_long for line in lines] == [True, False]
    assert peak < 1_000_000


@given(st.binary(max_size=200), st.integers(min_value=1, max_value=20))
def test_every_line_is_seen_once_and_whole_unless_too_long(data: bytes, limit: int) -> None:
    data = data.removeprefix(b"\xef\xbb\xbf")
    expected = io.BytesIO(data).readlines()
    lines = list(read_lines(io.BytesIO(data), limit))
    assert len(lines) == len(expected)
    for line, whole in zip(lines, expected, strict=True):
        assert line.too_long == (len(whole.rstrip(b"\n")) > limit)
        assert line.too_long or line.raw == whole.removeprefix(b"\xef\xbb\xbf" if line.number == 1 else b"")
