"""Finds rows that hold an item of a benchmark, so that a student is not tested on what it was trained on.

A row is contaminated where it shares 13 words in a row with an item (the rule of GPT-3), or at least half of an item's
runs of 8 words. Words are normalised, and digits stay, because items of mathematics differ by their digits alone. The
prompt and the answer are looked at apart. A paraphrase is not found.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from persyn.errors import InputError
from persyn.exports.rows import Answer
from persyn.exports.splits import normalised

LONG, SHORT, COVER = 13, 8, 0.5
_FIELDS = ("prompt", "question", "problem", "instruction", "text", "messages")


class Match(NamedTuple):
    """A row's likeness to one item. cover: the share of the item's runs of 8 words that the row has."""

    benchmark: str
    item: int  # from 1
    place: str  # prompt or answer
    cover: float
    words: str  # a run that both have


class Benchmarks:
    """The items of some benchmarks, by their runs of words."""

    def __init__(self, items: Iterable[tuple[str, int, str]]) -> None:
        """items: the benchmark's name, the item's number and its text."""
        self._items: list[tuple[str, int]] = []
        self._long: dict[int, list[int]] = defaultdict(list)
        self._short: dict[int, list[int]] = defaultdict(list)
        self._short_runs: list[int] = []  # of each item
        for benchmark, number, text in items:
            self._add(benchmark, number, normalised(text).split())

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> "Benchmarks":
        """Raises InputError where a file cannot be read, or where one of its records has no text."""
        return cls((file.name, number, text) for file in files for number, text in enumerate(_texts(file), start=1))

    def match(self, answer: Answer) -> Match | None:
        """The first likeness that is found, the prompt's before the answer's."""
        places = (("prompt", asked(answer.messages)), ("answer", answer.text))
        return next((match for place, text in places for match in self._matches(place, text)), None)

    def items_like(self, text: str) -> set[int]:
        """The numbers of all items that the text is too like."""
        return {match.item for match in self._matches("prompt", text)}

    def _add(self, benchmark: str, number: int, words: list[str]) -> None:
        item = len(self._items)
        self._items.append((benchmark, number))
        # A short item counts as a whole: parts of it stand in many texts.
        short = {*_runs(words, SHORT)} if len(words) >= SHORT else {_whole(words)}
        self._short_runs.append(len(short))
        for run in short:
            self._short[_key(run)].append(item)
        for run in _runs(words, LONG):
            self._long[_key(run)].append(item)

    def _matches(self, place: str, text: str) -> Iterator[Match]:
        words = normalised(text).split()
        for run in _runs(words, LONG):
            for item in self._long.get(_key(run), ()):
                yield Match(*self._items[item], place, 1.0, run)
        shared: Counter[int] = Counter()
        example: dict[int, str] = {}
        for run in sorted({*_runs(words, SHORT), _whole(words)}):
            for item in self._short.get(_key(run), ()):
                shared[item] += 1
                example.setdefault(item, run)
        for item, count in shared.most_common():
            cover = count / self._short_runs[item]
            if cover >= COVER:
                yield Match(*self._items[item], place, round(cover, 3), example[item])


def asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """The words of the user in a prompt."""
    return " ".join(message["content"] for message in messages if message["role"] == "user")


def _runs(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))


def _whole(words: Sequence[str]) -> str:
    """A run that only a text of the same words has."""
    return f"^{' '.join(words)}$"


def _key(run: str) -> int:
    """Eight bytes in place of a text, because a benchmark has millions of runs."""
    return int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big")


def _texts(file: Path) -> Iterator[str]:
    """The item of each line: JSON with one of the usual fields, or the line itself in a file that is no JSONL."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                text = _field(json.loads(line)) if file.suffix in (".jsonl", ".json") else line
                if text is None:
                    raise InputError(
                        f"--decontaminate {file}: line {number} has none of {', '.join(_FIELDS)}. Rename its column."
                    )
                yield text
    except (OSError, ValueError) as exc:
        raise InputError(f"--decontaminate {file}: cannot be read as lines of JSON or of text: {exc}.") from exc


def _field(record: Any) -> str | None:
    if isinstance(record, str):
        return record
    value = next((record[name] for name in _FIELDS if record.get(name)), None) if isinstance(record, dict) else None
    if isinstance(value, list):
        parts = [part.get("content") for part in value if isinstance(part, dict) and part.get("role") == "user"]
        return " ".join(part for part in parts if isinstance(part, str)) or None
    return value if isinstance(value, str) else None
