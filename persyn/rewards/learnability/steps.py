"""The steps of an answer, its sentences and lines, and the windows that a student reads them in.

The source of local naturalness (arXiv 2510.03988) scores the steps of a reasoning trace, such as its sentences. Here a
rule finds them, without a model: a step ends with a sentence or a line. It is a part of the answer's own tokens, so
that no text is tokenised anew.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

_END = re.compile(
    r"""
    (?m:^[^\S\n]*(?:\d{1,3}|[A-Za-z])[.)](?=[^\S\n]))      # the number of a list's item ends nothing
    | (?P<end> [^\S\n]*\n\s*                                # a line, with the blank ones after it
             | [.!?…]+["'”’)\]*_]*(?=[^\S\n]+\S)            # a sentence: its next one begins with the space
             | [。！？]["'”’」』）]*(?!\s*\n) )
    """,
    re.VERBOSE,
)


class Window(NamedTuple):
    """A step and what the student sees of the answer before it, as places of the answer's tokens."""

    begin: int
    step: int  # the step's first token; from here its tokens are asked about
    end: int  # one behind its last token


def step_numbers(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """(n,) the step of each of an answer's tokens, from 0 without a gap; a token belongs where it begins."""
    pieces = _pieces(tokenizer, ids)
    ends = _ends("".join(pieces))
    numbers: list[int] = []
    place, last = 0, 0
    for piece in pieces:
        passed = bisect_right(ends, place)
        numbers.append((numbers[-1] if numbers else 0) + (bool(numbers) and passed > last))
        place, last = place + len(piece), passed
    return numbers


def windows(numbers: Sequence[int], window: int) -> Iterator[Window]:
    """The windows of the steps that have more than `window` steps before them: the others see all that came before."""
    starts = [place for place, number in enumerate(numbers) if place == 0 or numbers[place - 1] != number]
    for step in range(window + 1, len(starts)):
        yield Window(starts[step - window], starts[step], [*starts, len(numbers)][step + 1])


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token's own text. Some tokenizers drop the space before a text's first word, so the token before leads."""
    decode = partial(tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    alone = [decode([token]) for token in ids]
    pairs = (decode([before, token]) for before, token in pairwise(ids))
    return alone[:1] + [pair[len(before) :] for before, pair in zip(alone, pairs, strict=False)]


def _ends(text: str) -> list[int]:
    """The places in a text where a step ends; white space alone is none."""
    ends, last = [], 0
    for match in _END.finditer(text):
        if match["end"] and text[last : match.end()].strip():
            last = match.end()
            ends.append(last)
    return ends
