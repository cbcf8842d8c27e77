"""Finds the final answer of a text where no reference tells its kind: an option, yes or no, a value, or words."""

import re
from collections.abc import Sequence

from persyn.rewards.quality.final_answer import FinalAnswer, final_formula, in_passage, solution
from persyn.rewards.quality.passages import passages, sentences, unwrapped

MOST_WORDS = 8  # of an answer in words; a longer statement explains

_OPTION = re.compile(r"""[\s*_("'$\[]*(?:(?:[Oo]ption|[Cc]hoice)\s+[*_("'$\[]*)?([A-HJ-Z])\W*""")
_LABELLED = re.compile(r"""[\s*_("'$\[]*([A-HJ-Z])[)\].:]+[*_"'$]*\s+\S""")  # "(B) 42 cm"
_NAMED = re.compile(r"""\b(?:option|choice)\s+(?:is\s+)?[*_("'$\[]*([A-HJ-Z])(?![\w'’])""")
_POLARITY = re.compile(r"""[\s*_"'>]*(yes|no|true|false)\b(?!\s+(?:one|of)\b)""", re.IGNORECASE)


def open_answer(text: str) -> FinalAnswer:
    """The final answer of a text: what its box or its statement holds, whatever that is; else what a sentence asserts.

    Nothing, where no sentence asserts an option, yes or no, or a value: words count only where the text calls them its
    answer.
    """
    whole = solution(text)
    for passage in passages(whole):
        if passage.place == "sentence":
            break
        plain = unwrapped(whole.unmasked(passage.text)).strip()
        if word := _option(plain) or _polarity(plain):
            return FinalAnswer((word,), passage.place)
        found = in_passage(passage, whole)
        if found.values:
            return found
        if re.search(r"\d", plain):
            inside = final_formula(plain)  # "The answer: Jackson is 4 years old."
            return inside._replace(basis=passage.place) if inside.values else FinalAnswer((plain,), passage.place)
        if 0 < len(re.findall(r"\w+", plain)) <= MOST_WORDS:
            return FinalAnswer((plain,), passage.place)
    spoken = [whole.unmasked(sentence) for sentence in sentences(whole.text)]
    return _asserted(spoken) or final_formula(text)


def _asserted(spoken: Sequence[str]) -> FinalAnswer | None:
    """The option that the last sentence names, or the yes or no that the first or the last one begins with."""
    if not spoken:
        return None
    named = _NAMED.search(spoken[-1])
    word = named[1] if named else _polarity(spoken[-1]) or _polarity(spoken[0])
    return FinalAnswer((word,), "stated" if named else "sentence") if word else None


def _option(text: str) -> str | None:
    found = _OPTION.fullmatch(text) or _LABELLED.match(text)
    return found[1] if found else None


def _polarity(text: str) -> str | None:
    found = _POLARITY.match(text)
    return found[1].lower() if found else None
