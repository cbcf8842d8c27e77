"""Finds the values in a sentence, and which of them the sentence asserts.

"There are 180 minutes in 3 hours." asserts 180: the other number stands behind "in". Where the grammar leaves several,
the last of them is taken, as a guess.
"""

import re
from typing import NamedTuple

from persyn.rewards.quality.passages import FORMULAS, Masked

_THOUSANDS = r"\d{1,3}(?:(?:,\d{3})+|(?:[\u00a0\u2007\u2009\u202f]\d{3})+)(?!\d)"
_PART = "[½¼¾⅓⅔]"
_NUM = rf"(?:\d+\s\d+/\d+(?![\d/])|(?:{_THOUSANDS}|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?{_PART}?|\.\d+|{_PART})"
_POWER = r"(?:\^\(?-?\w+\)?|[²³])?"
_TERM = (
    rf"(?:(?:[€£¥₹]\s?|\\?\$)?{_NUM}(?:\s?(?:\\?%|percent\b))?(?:\s?π|\s?√\(?\d+\)?|[a-zA-Z](?![\w'’]))?{_POWER}"
    rf"|(?:√|\bsqrt)\(?{_NUM}\)?|[π∞]|[b-zB-HJ-Z]{_POWER}(?![\w'’])|[{FORMULAS}](?:\s?\\?%)?)"
)
_EXPRESSION = (
    rf"[-±]?\({{0,6}}-?{_TERM}(?:\){{0,6}}\s*(?:[-+*/^×÷·](?!-)|\*\*|\btimes\b)\s*\({{0,6}}-?{_TERM})*\){{0,6}}"
)
_ELEMENT = r"[^\s()\[\]{},;:][^()\[\]{},;:]{0,20}"
_VALUE = re.compile(
    rf"""(?<!\w)[(\[]\s*{_ELEMENT}(?:\s*[,;]\s*{_ELEMENT})+\s*[)\]]
    | \\?\{{\s*{_ELEMENT}(?:\s*[,;]\s*{_ELEMENT})+\s*\\?\}} | \\\{{\s*{_ELEMENT}\s*\\\}}
    | (?<![\w./:])\d+(?:\s?:\s?\d+){{1,3}}(?:\s?[AaPp]\.?[Mm]\b)?(?![\w:]) | (?<![\w./])(?:{_EXPRESSION})(?<![\s(])""",
    re.VERBOSE,
)
_QUANTITY = re.compile(r"[\dπ∞√½¼¾⅓⅔]")
_REMARK = re.compile(r"(?<![\\A-Za-z])(?!sqrt|pi\b|inf)[A-Za-z]{2}")  # words in brackets
_OPERATOR = re.compile(r"[^\W_]\){0,6}\s*[-+*/^×÷·]\s*\({0,6}[^\W_]")
_NAME = re.compile(  # of a variable, a function, a point: a thing that has a value and is none
    r"\s*(?:\\(?:triangle|angle|overline|text|mathrm|mathbf|vec)\s*)?\{?(?:[a-zA-Z]|[A-Z]{2,4}|\\[a-zA-Z]+)\}?(?:_\{?\w+\}?)?(?:\([a-z]\))?\s*"
)
_CONSTANT = re.compile(r"\s*\\(?:pi|infty|emptyset|varnothing)\s*")
_ASIDE = re.compile(
    r"""\b(?:in|within|after|before|per|than|from|out\ of|of(?=\s+(?:the|his|her|their|its|these|those|our|my|all)\b)
        |at|during|since|until|every|each|with|on|between|among|across|instead\ of|given|all
        |day|days|week|month|year|grade|round|(?<!last\ )(?<!lasts\ )(?<!lasted\ )for(?!\s*(?:\\?\$|[€£¥₹])))
    (?:\s+(?:the|these|those|his|her|their|its|our|my|all|a|an|another|other|first|last|next|original|remaining|only
        |just|about|around|exactly|of|every|each))*[\s*_(]*$ | \#$""",
    re.IGNORECASE | re.VERBOSE,
)
_SUBORDINATE = re.compile(
    r"\b(?:after|before|when|if|since|because|while|given|where|although|until|unless|compared|once)\b[^,;]*$",
    re.IGNORECASE,
)
# "It takes 45 minutes to run the 6 miles": what the time, the money or the things are for.
_PURPOSE = re.compile(
    rf"""\b(?:takes?|took|needs?|needed|requires?|required|spends?|spent|costs?|uses?|used|pays?|paid)\b(?!\s+to\b)
    [^,;=]*?{_NUM}[^,;=]*?\bto\s+(?!(?:get|find|obtain|calculate|arrive|be)\b)[a-z]+
    (?:\s+(?!(?:and|or|so|is|are|was|were|which|that)\b)[A-Za-z'-]+){{0,4}}[\s$*(\\€£]*$""",
    re.IGNORECASE | re.VERBOSE,
)
# "25% of 200 is 50": the share and the whole that it is taken of, where the sentence goes on to its value.
_SHARE = re.compile(
    rf"""(?:{_NUM}\s?(?:\\?%|percent\b)|\d+/\d+|\b(?:half|third|quarter|fifth)s?)\s+of\s+(?:the\s+|his\s+|her\s+|these\s+)?
    [\\$€£]*{_NUM}(?=(?:\s+[A-Za-z'-]+){{0,4}}?\s+(?:is|are|was|were|equals?|comes\ to)\s+[^.;]*\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_SUM = re.compile(r"(?:\s+(?!and\b|or\b)[\w'-]+){0,3}?\s+(?:in total|altogether|in all|overall)\b", re.IGNORECASE)
_LEFT = re.compile(r"(?:(?!\b(?:and|or|so|then)\b)[^=;.,<>]|\.(?=\d)){0,300}=")
_JOIN = re.compile(r"\s*(?:,|;|,?\s*(?:and|or)\b)\s*(?:(?:and|or)\b\s*)?(?:[a-zA-Z]\w?\s*=\s*)?")
_BOLD = re.compile(r"(?:\*\*|__)(?=\S)(.+?)(?<=\S)(?:\*\*|__)")
MOST = 64  # values: each costs a look at its whole sentence
BOLD_MORE = 24  # characters beside the value in bold type, as a unit takes; more is a bold sentence


class Value(NamedTuple):
    """A value's place in its sentence. `aside`: the grammar gives it a minor place. `left`: of an equals sign."""

    start: int
    end: int
    aside: bool
    left: bool
    bold: bool


def values_in(sentence: str, whole: Masked) -> list[Value]:
    """Every number, formula and collection of them in the sentence, in order; of more than MOST the last."""
    bold = [match.span(1) for match in _BOLD.finditer(sentence)]
    shares = [match.span() for match in _SHARE.finditer(sentence)]
    spans = [_balanced(sentence, *match.span()) for match in _VALUE.finditer(sentence)]
    return [_value(sentence, span, bold, shares) for span in spans[-MOST:] if _is_value(sentence[slice(*span)], whole)]


def _value(sentence: str, span: tuple[int, int], bold: list[tuple[int, int]], shares: list[tuple[int, int]]) -> Value:
    start, end = span
    before, after = sentence[:start], sentence[end:]
    aside = (
        any(first <= start < last for first, last in shares)
        or _ASIDE.search(before)
        or _SUBORDINATE.search(before)
        or _PURPOSE.search(before)
        or re.match(r"-[a-z]{2}|(?:st|nd|rd|th)\b", after)
    )
    in_brackets = before.count("(") > before.count(")")
    # A bold label ("**Total (2 days):**") or a bold sentence emphasises no number.
    emphasised = any(
        first <= start and end <= last and last - first <= end - start + BOLD_MORE and sentence[last - 1] != ":"
        for first, last in bold
    )
    return Value(start, end, bool(aside) or in_brackets, bool(_LEFT.match(after)), emphasised)


def asserted(sentence: str, values: list[Value]) -> tuple[list[Value], bool]:
    """The value that the sentence asserts (several where "and", "or" or a comma joins them); whether it is certain."""
    right = [value for value in values if not value.left] or values
    found = groups(sentence, [value for value in right if not value.aside] or right)
    reckoned = sentence[: found[-1][0].start].rstrip(" $*").endswith("=")
    sums = [] if reckoned else [group for group in found if _SUM.match(sentence[group[-1].end :])]
    return (sums or found)[-1], len(found) == 1


def groups(sentence: str, values: list[Value]) -> list[list[Value]]:
    """Values that only "and", "or" or a comma part belong together."""
    found: list[list[Value]] = []
    for value in values:
        if found and _JOIN.fullmatch(sentence[found[-1][-1].end : value.start].replace("*", "")):
            found[-1].append(value)
        else:
            found.append([value])
    return found


def both_sides(sentence: str, values: list[Value]) -> list[Value]:
    """Both sides of "180 minutes = 3 hours", where neither is reckoned from the other; else none."""
    if len(values) != 2 or not values[0].left:
        return []
    between, after = sentence[values[0].end : values[1].start], sentence[values[1].end :]
    reckoned = any(_OPERATOR.search(sentence[value.start : value.end]) for value in values)
    with_units = re.fullmatch(r"\s*[A-Za-z][^=]*=\s*", between) and re.match(r"\s*[A-Za-z]{2,}", after)
    return values if with_units and not reckoned else []


def _balanced(sentence: str, start: int, end: int) -> tuple[int, int]:
    """The span without a bracket that opens before the value, or closes behind it."""
    if sentence[start] in "([" and sentence[end - 1] in ")]" and "," in sentence[start:end]:
        return start, end  # an interval may open and close differently
    while sentence[start] == "(" and sentence.count("(", start, end) > sentence.count(")", start, end):
        start += 1
    while sentence[end - 1] == ")" and sentence.count(")", start, end) > sentence.count("(", start, end):
        end -= 1
    return start, end


def _is_value(text: str, whole: Masked) -> bool:
    """Letters alone are names; letters that are reckoned with are values, and so are digits and formulas."""
    if re.fullmatch(f"[{FORMULAS}]", text):
        formula = whole.unmasked(text)
        return not _NAME.fullmatch(formula) or bool(_CONSTANT.fullmatch(formula))
    if text[0] in "([{" and _REMARK.search(text):
        return False
    return bool(
        _QUANTITY.search(text) or _OPERATOR.search(text) or re.search(f"[{FORMULAS}]", text) or text[0] in "([{\\"
    )
