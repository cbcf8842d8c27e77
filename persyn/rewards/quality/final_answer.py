"""Finds the final answer in a text: what it asserts, which need not be the last number in sight."""

import re
from typing import Literal, NamedTuple

from persyn.rewards.quality.passages import Masked, Passage, masked, passages, unwrapped
from persyn.rewards.quality.values import Value, asserted, both_sides, groups, values_in

# The last two are guesses: several values stand in the last sentence; only the words can be compared.
Basis = Literal["boxed", "stated", "bold", "sentence", "nothing", "last_in_sight", "text"]
GUESSES: tuple[Basis, ...] = ("last_in_sight", "text")


class FinalAnswer(NamedTuple):
    """The answer as it is written; several values where either side of an equation may be meant, none without one."""

    values: tuple[str, ...]
    basis: Basis


NOTHING = FinalAnswer((), "nothing")

_CALCULATED = re.compile(r"<<[^<>\n]*>>")  # the notes of a calculator within a solution, as in 2 + 3 = <<2+3=5>>5
_LEAD = re.compile(
    r"[\s*_:\"'“(]*(?:(?:approximately|about|exactly|simply|equal to|the|a total of|both)\s+)*"
    r"(?:[a-zA-Z](?:\([a-z]\))?\s*=\s*)?[*_]*"
)
_OF_THE_TEXT = re.compile(  # a number that counts parts of the text
    r"\b(?:step|part|case|method|equation|eq\.?|question|problem|exercise|figure|example|page|chapter|section)"
    r"\s+#?\(?\d+\)?(?!\s*(?:=|\d))",
    re.IGNORECASE,
)
_WORDS_FIRST = re.compile(r"^[^\d\\]*?[A-Za-z]{3,}")
COMMAND = re.compile(r"\\(?:begin|end)\{[a-zA-Z*]+\}|\\[a-zA-Z]+|\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi)\b")
_WORDS = re.compile(r"[A-Za-z]{2}|[\u0400-\u1fff\u2e80-\ud7af]|[?!]$")  # from Cyrillic on one letter is a word's
_REMARK = re.compile(r"\s+\((?=[^()]*[A-Za-z]{3}).*$|\s*(?:\*\*|__)?\s*$")


def final_formula(text: str) -> FinalAnswer:
    """The number, the formula or the collection of them that the text gives as its answer."""
    whole = solution(text)
    for passage in passages(whole):
        found = in_passage(passage, whole)
        if found.values:
            return found
    return NOTHING


def is_formula(text: str) -> bool:
    """Whether the text is LaTeX or plain mathematics throughout, without a word of a language."""
    return bool(re.search(r"[^\W_]|[∞∅]", text)) and not _WORDS.search(COMMAND.sub(" ", text))


def solution(text: str) -> Masked:
    """The text with its formulas hidden and without a calculator's notes."""
    return masked(_CALCULATED.sub("", text))


def in_passage(passage: Passage, whole: Masked) -> FinalAnswer:
    """The value that one passage gives."""
    if passage.place == "boxed":
        return _in_box(passage.text, whole)
    if passage.place == "stated":
        return _in_statement(passage.text, whole)
    return _in_sentence(passage.text, whole)


def _in_box(content: str, whole: Masked) -> FinalAnswer:
    """A box is the answer whole, unless it is a sentence of its own."""
    plain = whole.unmasked(content).strip()
    if not plain:
        return NOTHING
    said = unwrapped(plain).strip()
    if _WORDS_FIRST.match(said) and "=" not in said and re.search(r"\d", said):
        inside = final_formula(said)
        return inside._replace(basis="boxed") if inside.values else FinalAnswer((plain,), "boxed")
    return FinalAnswer((plain,), "boxed")


def _in_statement(text: str, whole: Masked) -> FinalAnswer:
    """The formula that follows "the answer is", or the value that opens a longer remark."""
    plain = whole.unmasked(_REMARK.sub("", text))
    if is_formula(plain) and plain.strip(" .*_$"):
        return FinalAnswer((plain,), "stated")
    lead = _LEAD.match(text)
    values = values_in(text, whole)
    leading = [value for value in values if lead and value.start <= lead.end() <= value.end]
    if not leading:
        return NOTHING
    if leading[0].left:
        return _in_sentence(text, whole)._replace(basis="stated")
    return FinalAnswer((_written(text, groups(text, values[values.index(leading[0]) :])[0], whole),), "stated")


def _in_sentence(sentence: str, whole: Masked) -> FinalAnswer:
    """The value that the sentence asserts; which one is a guess where the grammar leaves several."""
    plain = whole.unmasked(sentence).strip(" *_`.")
    if is_formula(plain) and not re.search(r"[=;:#∈]", plain):
        return FinalAnswer((plain,), "sentence")
    sentence = _OF_THE_TEXT.sub(lambda match: " " * len(match[0]), sentence)
    values = values_in(sentence, whole)
    if not values:
        return NOTHING
    if bold := [value for value in values if value.bold]:
        return FinalAnswer((_written(sentence, groups(sentence, bold)[-1], whole),), "bold")
    if sides := both_sides(sentence, values):
        return FinalAnswer(tuple(_written(sentence, [value], whole) for value in sides), "sentence")
    group, certain = asserted(sentence, values)
    return FinalAnswer((_written(sentence, group, whole),), "sentence" if certain else "last_in_sight")


def _written(sentence: str, group: list[Value], whole: Masked) -> str:
    return ", ".join(whole.unmasked(sentence[value.start : value.end]) for value in group)
