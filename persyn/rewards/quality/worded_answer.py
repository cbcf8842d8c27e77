"""Finds final answers that are letters or words: the option of a choice, yes or no, a name."""

import re
from typing import NamedTuple

from persyn.rewards.quality.final_answer import NOTHING, Basis, FinalAnswer, is_formula
from persyn.rewards.quality.passages import Masked, Passage, masked, passages, sentences, unwrapped

SHORT = 3  # words: where a longer reference is not repeated, it may have been said in other words

_LETTER_FIRST = re.compile(
    r"""^[\s*_"'`$(\[]*(?:(?:the|is|option|choice|answer|letter)\s+)*[*_(\["'`$]*(?P<first>[A-Z])
    (?=[)\].:*_,;"'`$]|\s*$|\s*[-–—]|\s+(?:not|because|since|as|which|and|or)\b
        |\s+is\b(?!\s+(?:not|false|wrong|incorrect)\b))
    (?:[)\]*_"'`$]*\s*(?:,|and|or|&)\s*(?:and\s+)?[*_(\["'`]*(?P<second>[A-Z])(?![\w'’]))?""",
    re.VERBOSE,
)
_LETTER = re.compile(
    r"""\(([A-Z])\) | \b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s+[*_("'`]*([A-Z])\b | \*\*\(?([A-Z])\)?[.:)]?\*\*
    | (?<![\w'’(+*/=^\\_&{-])(?<![-+*/=^&]\ )([B-HJ-Z])(?![\w'’]|\s*[-+*/=^\\_&{]) | \b(?:is|be)\s+(A)(?=[\s.*]*$)""",
    re.VERBOSE,
)
_DENIED = re.compile(
    r"""(?:\b(?:not|never|no\ longer|nor|rather\ than|instead\ of|thought\ of|at\ first|unlike|neither)|n['’]t)\s+
    (?:(?!but\b)\w+\s+){0,2}[*_("'`]*$""",
    re.IGNORECASE | re.VERBOSE,
)
_POLARITY = re.compile(
    r"""^[\s*_"'>]*(?:(?:so|thus|therefore|hence|in\ short|in\ conclusion|well)\b,?\s*)?[*_"']*
    (yes|no|true|false)\b(?!\s+(?:one|of)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_CONCLUDED = re.compile(r"\b(?:so|thus|therefore|hence),?\s+[*_\"']*(yes|no|true|false)\b[\s*_\"'.!]*$", re.IGNORECASE)
_JUDGED = re.compile(r"\b(?:is|are|be|as)\s+(not\s+)?[*_\"']*(true|false)\b", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"""\b(?:(?:do|does|did|can|could)(?:\s+not|n['’]t)|cannot|unable|no\ idea|not\ (?:sure|certain|enough)
    |unknown|unclear)\b""",
    re.IGNORECASE | re.VERBOSE,
)
OPPOSITE = {"yes": "no", "no": "yes", "true": "false", "false": "true"}


class WordVerdict(NamedTuple):
    """Whether words agree with the reference; None where words alone cannot tell. `answer`: what was read."""

    same: bool | None
    basis: Basis
    answer: str


def final_choice(text: str) -> FinalAnswer:
    """The option's letter that the text gives as its answer."""
    whole = masked(text)
    for passage in passages(whole):
        # Letters within formulas are variables.
        plain = passage.text if passage.place == "sentence" else _plain(passage, whole)
        if first := _LETTER_FIRST.match(plain):
            named = ", ".join(letter for letter in (first["first"], first["second"]) if letter)
            return FinalAnswer((named,), passage.place)
        found = [match for match in _LETTER.finditer(plain) if not _DENIED.search(plain[: match.start()])]
        if found:
            letters = {letter for match in found for letter in match.groups() if letter}
            last = next(letter for letter in found[-1].groups() if letter)
            return FinalAnswer((last,), passage.place if len(letters) == 1 else "last_in_sight")
    return NOTHING


def final_polarity(text: str) -> FinalAnswer:
    """The yes, no, true or false that the text gives as its answer."""
    whole = masked(text)
    for passage in passages(whole):
        plain = _plain(passage, whole)
        if leading := _POLARITY.match(plain) or _CONCLUDED.search(plain):
            return FinalAnswer((leading[1].lower(),), passage.place)
        if judged := list(_JUDGED.finditer(plain)):
            said = judged[-1][2].lower()
            return FinalAnswer((OPPOSITE[said] if judged[-1][1] else said,), passage.place)
    return NOTHING


def compare_words(text: str, reference: str) -> WordVerdict:
    """Look for the words of the reference in what the text gives as its answer."""
    wanted = _words(reference)
    whole = masked(text)
    for passage in passages(whole):
        plain = _plain(passage, whole)
        if passage.place == "sentence":
            break
        if words := _words(plain):
            return _of_statement(passage, plain, words, wanted)
    spoken = [whole.unmasked(sentence) for sentence in sentences(whole.text)]
    if not spoken:
        return WordVerdict(False, "nothing", "")
    if _says(spoken[-1], wanted):
        return WordVerdict(True, "text", spoken[-1])
    partly = len(wanted) > 1 and any(len(word) > 2 and word in _words(spoken[-1]) for word in wanted)
    if (
        partly
        or any(_says(sentence, wanted) for sentence in spoken)
        or (len(wanted) > SHORT and not admits_ignorance(text))
    ):
        return WordVerdict(None, "text", spoken[-1])
    return WordVerdict(False, "text", spoken[-1])


def admits_ignorance(text: str) -> bool:
    """Whether the text says that it has no answer."""
    return bool(_UNKNOWN.search(text))


def _of_statement(passage: Passage, plain: str, words: list[str], wanted: list[str]) -> WordVerdict:
    if words == wanted:
        return WordVerdict(True, passage.place, plain)
    if _says(plain, wanted):
        return WordVerdict(not _among_others(plain, wanted), "text", plain)
    only_formula = is_formula(plain) and not plain.strip(" $.,").isdecimal()
    in_other_words = only_formula or bool(set(words) & set(wanted)) or len(wanted) > SHORT
    return WordVerdict(None if in_other_words else False, "text", plain)


def _says(text: str, wanted: list[str]) -> bool:
    """Whether the words stand in the text one after the other, and are not denied."""
    pattern = r"(?<!\w)" + r"[\W_]+".join(map(re.escape, wanted)) + r"(?!\w)"
    return any(not _DENIED.search(text[: match.start()]) for match in re.finditer(pattern, text, re.IGNORECASE))


def _among_others(text: str, wanted: list[str]) -> bool:
    """Whether something else is named beside the words, as in "Ann and Bob"."""
    pattern = r"[\W_]+".join(map(re.escape, wanted))
    return bool(re.search(rf"\b(?:and|or|&)\s+{pattern}\b|\b{pattern}\s+(?:and|or|&)\s", text, re.IGNORECASE))


def _words(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)?", text.casefold())
    return words[1:] if words[:1] in (["the"], ["a"], ["an"]) and len(words) > 1 else words


def _plain(passage: Passage, whole: Masked) -> str:
    return unwrapped(whole.unmasked(passage.text)).strip()
