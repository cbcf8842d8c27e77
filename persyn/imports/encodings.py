"""Files that are no UTF-8 text, or no data at all, told by their first bytes."""

import codecs

from persyn.errors import InputError

HEAD_BYTES = 1 << 16
MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
LATIN_1, WINDOWS = "ISO-8859-1", "CP1252"  # Windows has quotation marks and dashes where Latin-1 has control characters
UNKNOWN = "?"
ZIP = b"PK\x03\x04"
PACKED = {
    b"\x1f\x8b": "gzip (.gz)",
    b"\x28\xb5\x2f\xfd": "Zstandard (.zst)",
    b"\xfd7zXZ\x00": "xz (.xz)",
    b"BZh": "bzip2 (.bz2)",
    ZIP: "a ZIP archive or a spreadsheet",
    b"PAR1": "Parquet (.parquet)",
    b"ARROW1": "Arrow (.arrow)",
}
POINTERS = (b"version https://git-lfs.github.com/spec/", b"/annex/objects/", b"../.git/annex/")


def check_pointer(name: str, head: bytes) -> None:
    """Raises InputError for the pointer that stands in place of a large file, and for a web page."""
    if head.startswith(POINTERS):
        raise InputError(
            f"{name}: is a pointer of git-lfs or git-annex to the data, not the data itself."
            " Fetch it with `git lfs pull` (or `git annex get`), and import it then."
        )
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{name}: is a web page, not data. Download the file itself, often called raw or resolve.")


def check_text(name: str, head: bytes) -> None:
    """Raises InputError where the head of a text file is none, or is in another encoding than UTF-8."""
    for magic, kind in PACKED.items():
        if head.startswith(magic):
            remedy = "Unpack it, or save it as CSV." if magic == ZIP else "Rename it, or name its --format."
            raise InputError(f"{name}: its content is {kind}, which its name does not say. {remedy}")
    encoding = _other_encoding(head)
    if encoding == UNKNOWN:
        raise InputError(
            f"{name}: its text is not UTF-8, and its bytes do not tell what it is. Convert it from the encoding in"
            f" which it was written, such as GB18030, SHIFT_JIS or CP1251: `iconv -f ENCODING -t UTF-8 {name} > NEW`."
        )
    if encoding:
        known_as = "Latin-1 (ISO-8859-1)" if encoding == LATIN_1 else encoding
        raise InputError(
            f"{name}: its text is {known_as}, not UTF-8. Convert it:"
            f" `iconv -f {encoding} -t UTF-8 {name} > NEW`, and import NEW."
        )
    if b"\r" in head.removesuffix(b"\r") and b"\n" not in head and len(head.split(b"\r")) > 1 + head.endswith(b"\r"):
        raise InputError(
            f"{name}: its lines end with a carriage return alone, as on old Macintoshes. Convert it:"
            f" `tr '\\r' '\\n' < {name} > NEW`, and import NEW."
        )


def _other_encoding(head: bytes) -> str | None:
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    pairs = head[: len(head) // 2 * 2]
    if len(pairs) >= 8 and pairs[1::2].count(0) > len(pairs) // 4:
        return "UTF-16LE"
    if len(pairs) >= 8 and pairs[0::2].count(0) > len(pairs) // 4:
        return "UTF-16BE"
    return _other_eight_bits(head)


def _other_eight_bits(head: bytes) -> str | None:
    """An encoding other than UTF-8 where no line of the head with bytes beyond ASCII is UTF-8.

    A file with one bad line is not meant: its other lines are read, and that line is refused.
    """
    lines = [line for line in head.splitlines() if line.strip()]
    odd = [line for line in lines if not line.isascii()]
    if not odd or any(_is_utf8(line, cut=line is lines[-1]) for line in odd):
        return None
    if _looks_latin(b"\n".join(odd).decode(WINDOWS, "replace")):
        return WINDOWS if any(0x80 <= byte < 0xA0 for line in odd for byte in line) else LATIN_1
    return UNKNOWN if len(odd) > len(lines) // 2 else None


def _looks_latin(text: str) -> bool:
    """Whether a letter or a quotation mark beyond ASCII has an ASCII letter beside it."""
    return "\ufffd" not in text and any(
        char > "\x7f"
        and (char.isalpha() or char in "‘’“”")
        and (_is_letter(text[max(place - 1, 0)]) or _is_letter(text[place + 1 :][:1]))
        for place, char in enumerate(text)
    )


def _is_utf8(line: bytes, *, cut: bool) -> bool:
    """`cut`: the line may end inside a character, as the head of a file does."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=not cut)
    except UnicodeDecodeError:
        return False
    return True


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()
