"""Measures of a prompt's style, whatever its subject: its length, lines, letter case, digits and signs.

A backbone's vector hardly holds the style: MiniLM folds case, and a mean over tokens forgets the length. Yet prompts of
one origin are written alike, and teachers differ more between origins than within one.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from persyn.chat import Messages

CHARACTERS = 8000  # the part of a prompt that is measured; the rest is seldom written in another style

_FORMULA, _CODE, _QUOTES = "\\{}^$", "()[]=_<>;", "\"'`"


def surface(prompts: Sequence[Messages]) -> NDArray[np.float64]:
    """(P, WIDTH) for P prompts."""
    texts = ("\n".join(message["content"] for message in messages)[:CHARACTERS] for messages in prompts)
    return np.array([_measures(text) for text in texts], dtype=np.float64).reshape(len(prompts), WIDTH)


def _measures(text: str) -> list[float]:
    words, end = text.split(), text.rstrip()

    def share(is_one: Callable[[str], bool]) -> float:
        return sum(map(is_one, text)) / max(len(text), 1)

    def among_words(count: int) -> float:
        return count / max(len(words), 1)

    def number(signs: str) -> float:
        return float(np.log1p(sum(map(text.count, signs))))

    return [
        np.log1p(len(text)), np.log1p(len(words)), number("\n"), number(","), number("."), number("?"),
        number(_FORMULA), number(_CODE), number(_QUOTES),
        share(str.isdigit), share(str.isupper), share(str.isspace), share(_is_sign),
        1 - share(str.isascii),
        text[:1].isupper(), text[:1].isspace(), text[-1:].isspace(),
        end.endswith("?"), end.endswith("."), end.endswith(":"),
        bool(words) and words[0][0].isupper(), among_words(sum(word[0].isupper() for word in words)),
        among_words(len({word.lower() for word in words})), len(text) / max(len(words), 1),
    ]  # fmt: skip


def _is_sign(one: str) -> bool:
    return not one.isalnum() and not one.isspace()


WIDTH = len(_measures(""))
