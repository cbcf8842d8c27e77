"""A file that is no UTF-8 text is told by its first bytes, and a good one never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.errors import InputError
from persyn.imports.encodings import check_pointer, check_text

ROW = '{"prompt": "Où est la gare ?"}\n'


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (ROW.encode("utf-16"), "UTF-16, not UTF-8"),
        (ROW.encode("utf-16-le"), "UTF-16LE, not UTF-8"),
        (ROW.encode("utf-16-be"), "UTF-16BE, not UTF-8"),
        (ROW.encode("utf-32"), "UTF-32, not UTF-8"),
        (ROW.encode("latin-1"), r"Latin-1 \(ISO-8859-1\), not UTF-8"),
        ((ROW + '{"prompt": "naïve"}\n').encode("cp1252"), r"Latin-1 \(ISO-8859-1\), not UTF-8"),
        ('{"prompt": "It’s “fine” – really"}\n'.encode("cp1252"), "CP1252, not UTF-8"),
        ('{"prompt": "Größe: 5 €"}\n'.encode("cp1252"), "iconv -f CP1252"),  # Latin-1 has no euro
        ('{"prompt": "こんにちは、元気ですか"}\n'.encode("shift_jis"), "bytes do not tell what it is"),
        ('{"prompt": "小明有三个苹果"}\n{"prompt": "又买了五个"}\n'.encode("gb18030"), "such as GB18030"),
        ('{"prompt": "Задача"}\n'.encode("cp1251"), "iconv -f ENCODING"),
        (b"PK\x03\x04\x14\x00", "ZIP archive or a spreadsheet.* Unpack it"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "Zstandard"),
        (b"PAR1....", "Parquet"),
        (b'{"a": 1}\r{"a": 2}\r', "carriage return"),
    ],
)
def test_another_encoding_or_kind_is_named_with_the_way_out(head: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_text("a.jsonl", head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'{"prompt": "\xff"}\n{"prompt": "plain"}\n',  # one bad line, which is refused alone
        (ROW + '{"prompt": "b'.replace("b", "")).encode() + b'\xe9t\xe9"}\n',  # UTF-8 with a bad line
        b"\xef\xbb\xbf" + ROW.encode(),
        ROW.encode()[:-9],  # cut inside the file, as the head is
        *('{"prompt": "a\\n数学 and more'.encode()[:cut] for cut in (-17, -16, -15, -14)),  # cut inside a character
        b'{"a": 1}\r\n{"a": 2}\r\n',
        b"one line\r",
    ],
)
def test_utf8_passes_also_with_a_bad_line(head: bytes) -> None:
    check_text("a.jsonl", head)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), min_size=1))
def test_no_utf8_text_is_taken_for_another_encoding(lines: list[str]) -> None:
    check_text("a.jsonl", "".join(f"{{{line}}}\n" for line in lines).encode())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of git-lfs"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
    ],
)
def test_a_pointer_and_a_web_page_are_no_data(head: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_pointer("a.parquet", head)
    check_pointer("a.jsonl", ROW.encode())
