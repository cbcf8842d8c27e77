"""Brings a mathematical value into one notation, LaTeX without markup, currency and units, and reads numbers."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from persyn.rewards.quality.passages import unwrapped

EXPONENT_AT_MOST = 400  # of ten: what is larger is compared as a formula

_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "‒": "-", "﹣": "-", "－": "-", "±": r"\pm ", "×": r"\times ", "✕": r"\times ",
        "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "°": "", "²": "^{2}", "³": "^{3}",
        "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ",
        "€": "", "£": "", "¥": "", "₹": "", "`": "", "“": "", "”": "", "’": "'",
        "\u2009": " ", "\u202f": " ", "\u00a0": " ", "\u2007": " ", "\u200b": "", "\u2061": "", "\u2062": "",
    }
)  # fmt: skip
_UNIT = (
    r"(?:[A-Za-z]{2,}|[mgshlLNJWVAKCF])(?:\s*(?:\^\s*\{?-?\d\}?|/\s*[A-Za-z]+|[A-Za-z.'\"]+))*"
    r"|(?<!\s)(?:cm|mm|km|kg|ml|mph|lbs?|ft|hrs?|mins?|dollars|cents)\b.*|['\"]"
)
# In this order.
_RULES = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[a-z]))", r"\\sqrt{\1\2\3}"),
        (r"(?<!\\)\bsqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r",\\!|\{,\}|\\\$|\$|^\*\*|\*\*$|\\left(?![a-z])|\\right(?![a-z])", ""),
        (r"(?<!\\)\\[!,;:> ]|~|\\(?:quad|qquad|displaystyle|limits|allowbreak)\b", " "),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\(?:text)?degree\b|(?<!\\)\\(?=\d)|(?<=\d)\s*degrees?\b", ""),
        (r"(?<=\d)(?:\^?\s*\{?\s*\\(?:text|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?:st|nd|rd|th)\b)", ""),
        (r"\s*\\?%|\s*\b(?:percent|per cent|pct)\b|\\text\s*\{\s*(?:percent|%)\s*\}", r"\\%"),
        (r"\\[dtc]frac", r"\\frac"),
        (r"(?<=\d)\s*:\s*(?=\d)", ":"),
        (r"\s+", " "),
        (r"^[\s*_\"']+|[\s*_\"'.,;:!]+$", ""),
        (r"\{(-?\d{1,3})((?:,\d{3})+)\}", lambda match: f"{{{match[1]}{match[2].replace(',', '')}}}"),
        (r"(?<=\d)[eE]([-+]?\d+)(?!\w)", r" \\times 10^{\1}"),
        (r",?\s*(?:\\text\s*\{\s*)?\b(?:and|or)\b(?:\s*\})?\s*(?=\S)", ", "),
    )
)
_THOUSANDS = re.compile(r"(?<![\d.,])(-?\d{1,3})((?:,\d{3})+)(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_UNITS = re.compile(
    rf"(?<=[\d.}})%])\s*(?:\\(?:text|mathrm|mbox|textrm)\s*\{{[^{{}}]*\}}(?:\s*\^\s*\{{?\d\}}?)?|\s(?:{_UNIT}))$"
)
_ASSIGNED = re.compile(r"^[a-zA-Z](?:\([a-z]\))?\s*=\s*(?=[^=]+$)")
_DIGITS = r"-?(?:\d+(?:\.\d*)?|\.\d+)"
_FRACTION = (
    rf"\\frac\s*(?:\{{\s*(?P<top>{_DIGITS})\s*\}}|(?P<digit>\d))\s*(?:\{{\s*(?P<bottom>{_DIGITS})\s*\}}|(?P<under>\d))"
)
_TEN_TO = r"\s*(?:\\times|\\cdot|\*)\s*10\s*(?:\^|\*\*)\s*[{(]?(?P<exponent>[-+]?\d{1,4})[)}]?"
_LITERAL = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?:
      (?P<whole>\d+)\s*\\frac\s*\{{\s*(?P<mixed_top>\d+)\s*\}}\s*\{{\s*(?P<mixed_bottom>\d+)\s*\}}
    | (?P<plain_whole>\d+)\s+(?P<plain_top>\d+)\s*/\s*(?P<plain_bottom>\d+)
    | {_FRACTION}
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+))(?:\s*/\s*(?P<divisor>{_DIGITS})|{_TEN_TO})?
    )\s*(?P<percent>\\?%)?""",
    re.VERBOSE,
)


class Literal(NamedTuple):
    """A number that is written out. `exact`: an integer or a fraction, and no decimal, which may be rounded."""

    value: Fraction
    exact: bool
    percent: bool


def in_one_notation(text: str) -> str:
    """The value as LaTeX: one sign for each thing; no markup, currency or thousands separators, no units behind it."""
    text = text.strip().translate(_SIGNS)
    for pattern, by in _RULES:
        text = pattern.sub(by, text)
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    if _one_number(text):
        text = _THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text)
    text = _collection(text)
    return (_UNITS.sub("", text) or text).strip()


def literal(text: str) -> Literal | None:
    """The number that a text in one notation is, such as -3, 1234.50, 5/6, 25\\% or 2 \\times 10^{3}; else None."""
    match = _LITERAL.fullmatch(_ASSIGNED.sub("", unwrapped(text)).strip())
    if not match:
        return None
    whole = match["whole"] or match["plain_whole"] or "0"
    top = match["mixed_top"] or match["plain_top"] or match["top"] or match["digit"] or match["number"]
    bottom = (
        match["mixed_bottom"] or match["plain_bottom"] or match["bottom"] or match["under"] or match["divisor"] or "1"
    )
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > EXPONENT_AT_MOST or not Decimal(bottom):
        return None
    value = (Fraction(whole) + Fraction(Decimal(top)) / Fraction(Decimal(bottom))) * Fraction(10) ** exponent
    exact = "." not in f"{top}{bottom}"
    return Literal(-value if match["sign"] == "-" else value, exact, match["percent"] is not None)


def _one_number(text: str) -> bool:
    """Whether commas part thousands here and no elements: "1,234" is one number, and so is "x = 1,234 cm"."""
    return "," not in _THOUSANDS.sub("", text, count=1) and not text.startswith(("(", "[", "{", "\\{"))


def _collection(text: str) -> str:
    """Sets with LaTeX's braces, and "x = 2, x = 3" as "2, 3"."""
    if re.fullmatch(r"\{[^{}]*,[^{}]*\}", text):
        text = rf"\{{{text[1:-1]}\}}"
    parts = [part.split("=") for part in re.split(r"\s*[,;]\s*", text)]
    names = {part[0].strip().split("_")[0] for part in parts}
    if len(parts) > 1 and all(len(part) == 2 for part in parts) and len(names) == 1 and len(min(names)) == 1:
        return ", ".join(part[1].strip() for part in parts)
    return text
