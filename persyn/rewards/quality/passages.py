"""Finds the passages of a text that may hold its final answer, the surest first.

A text shows its answer in a box, says which it is ("The answer is 5", "#### 5"), or asserts it in its last sentence. In
that order, the last of a kind counts. Thoughts between <think> and </think> are no part of the answer.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Place = Literal["boxed", "stated", "sentence"]


class Passage(NamedTuple):
    """A part of the text that may hold the answer. LaTeX formulas in it are one character each, as keys of `Masked`."""

    text: str
    place: Place


_THOUGHTS = re.compile(r"<(think|thinking)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_END = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_OPEN = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_SMALL_TALK = re.compile(
    r"""\?["')*_]*\s*$ | ^\W*(?:confidence|difficulty|word\ count|sources?|references)\b[^:\n]{0,20}:
    | \b(?:let\ me\ know | (?:i\ )?hope\b | feel\ free | ask\ me | happy\ to | glad\ to | don.t\ hesitate
    | would\ you\ like | shall\ i | (?:do|if)\ you\ (?:want|need|have|would|wish|like) | you\ would\ like
    | (?:any|more|further)\ (?:other\ )?questions? | good\ luck | you.re\ welcome | thank\ you | happy\ learning)""",
    re.IGNORECASE | re.VERBOSE,
)


def without_thoughts(text: str) -> str:
    """The text that follows the thoughts; thoughts without a beginning or an end are left out too."""
    return _THOUGHTS_OPEN.sub("", _THOUGHTS_END.sub("", _THOUGHTS.sub("", text)))


# -- formulas as single characters

# Private-use characters, which a text has no need of: one stands for each formula and for each box.
_FORMULA, _BOX, _LAST = 0xE000, 0xF000, 0xF8FF
FORMULAS = f"{chr(_FORMULA)}-{chr(_BOX - 1)}"  # as a class of a regular expression
BOXES = 64  # at most, counted from the end
_BOX_COMMAND = re.compile(r"\\f?box(?:ed)?\s*(?:\{|(?P<bare>(?<=\s)-?\d[\d.,]*\d|(?<=\s)\d))|\bboxed\{")
# Of a dollar amount in prose: two of them would read as a formula between dollar signs.
_CURRENCY = re.compile(r"(?<![\\$\w])\$(?=\d[\d,]*(?:\.\d+)?(?:[\s.,;:!?)*]|$))(?![^$\n]{0,40}[=+*/^\\{}][^$\n]*\$)")
_MINUS = str.maketrans("−﹣－", "---")
_PICTURES = re.compile("[\u2600-\u2775\u2794-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f\u200d\u20e3]+")
# Beside letters of a script without spaces, a number would seem to be a part of a word.
_SPACELESS = r"[\u2e80-\u9fff\uac00-\ud7af]"
_BESIDE_SPACELESS = re.compile(rf"(?<={_SPACELESS})(?=[-$\\(\d])|(?<=[\d$)])(?={_SPACELESS})")
_UNDERSCORES = re.compile(r"(?<!\w)__(?=\w)(.+?)(?<=\w)__(?!\w)")
_GROUP = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_MATHS = re.compile(
    rf"""(?<!\\)\$\$(?P<double>.+?)\$\$ | \\\[(?P<display>.+?)\\\] | \\\((?P<inline>.+?)\\\)
    | (?<![\\\d])\$(?P<single>(?:\\.|[^$\n\\])+)\$
    | \\begin\{{(?P<name>align|equation|gather|eqnarray)(?P<star>\*?)\}}(?P<lines>.+?)\\end\{{(?P=name)(?P=star)\}}
    | (?P<bare>-?[\d.]*\\(?:[dtc]?frac\s*(?:{_GROUP}|\d)\s*(?:{_GROUP}|\d)|sqrt(?:\[\d+\])?\s*(?:{_GROUP}|\d)
        |(?:pi|infty)\b|begin\{{[pbv]?matrix\}}.+?\\end\{{[pbv]?matrix\}})
        (?:\s*[-+*/^]?\s*(?:\\(?:[dtc]?frac\s*{_GROUP}\s*{_GROUP}|sqrt(?:\[\d+\])?\s*{_GROUP}|pi\b|infty\b)|[-+*/^]\s*[\d.]*\d))*)""",
    re.DOTALL | re.VERBOSE,
)
_ALIGNED = re.compile(r"\\(?:begin|end)\{(?:align|equation|gather|eqnarray|aligned|split|gathered)\*?\}")
_BETWEEN_BOXES = re.compile(
    r"[\s$\\()\[\].:]*(?:,|;|\band\b|\bor\b|\\text\{\s*(?:and|or)\s*\}|\\(?:quad|qquad))[\s$\\()\[\],.:]*(?:and|or)?[\s$\\()\[\]]*(?:\w\s*=\s*)?[\s$\\(\[]*"
)


class Masked(NamedTuple):
    """A text with each formula and each box replaced by one character that stands nowhere else in it."""

    text: str
    formulas: list[str]
    boxes: list[str]

    def unmasked(self, part: str) -> str:
        """A part of the text as it was written, formulas without their dollar signs."""
        known = {chr(_FORMULA + number): formula for number, formula in enumerate(self.formulas)}
        known |= {
            chr(_BOX + number): self.unmasked(box)
            for number, box in enumerate(self.boxes)
            if chr(_BOX + number) in part
        }
        return "".join(known.get(character, character) for character in part)


def masked(text: str) -> Masked:
    """The text with its formulas hidden, so that sentences can be told apart and words be looked for."""
    text = "".join(" " if _FORMULA <= ord(character) <= _LAST else character for character in text)
    text = _BESIDE_SPACELESS.sub(" ", _PICTURES.sub(" ", text))
    text = _UNDERSCORES.sub(r"**\1**", text).translate(_MINUS)
    boxes: list[str] = []
    formulas: list[str] = []

    def hide(match: "re.Match[str]") -> str:
        inside = next(match[name] for name in ("double", "display", "inline", "single", "lines", "bare") if match[name])
        if any(_BOX <= ord(character) <= _LAST for character in inside):
            return f" {inside} "
        formulas.append(_last_line(inside))
        return chr(_FORMULA + len(formulas) - 1)

    return Masked(_MATHS.sub(hide, _CURRENCY.sub("", _hide_boxes(text, boxes))), formulas, boxes)


def _hide_boxes(text: str, boxes: list[str]) -> str:
    """Innermost and last first, so that a box within a box is found too."""
    while len(boxes) < BOXES and (match := next(reversed(list(_BOX_COMMAND.finditer(text))), None)):
        end = match.end() if match["bare"] else _closing(text, match.end())
        boxes.append(match["bare"] or text[match.end() : end - 1 if text[end - 1 : end] == "}" else end])
        text = text[: match.start()] + chr(_BOX + len(boxes) - 1) + text[end:]
    return text


def _closing(text: str, start: int) -> int:
    """The place behind the brace that closes the one before `start`, or the end of the text."""
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return start + brace.end()
    return len(text)


def _last_line(formula: str) -> str:
    """The last line of an aligned derivation; any other formula as it is, on one line."""
    if "matrix" not in formula and "cases" not in formula and "array" not in formula:
        lines = [line for line in re.split(r"\\\\(?:\[.*?\])?", _ALIGNED.sub("", formula)) if line.strip(" &\n")]
        formula = (lines or [""])[-1].replace("&", " ")
    return " ".join(formula.split())


# -- passages

_STATED = re.compile(
    r"""\#\#\#\#[ \t]* | <answer>\s* | ^[\s*_>#]*(?:A|Ans)[.:][ \t*_]*(?=\S)
    | (?:^[\s*_>#]*|[.;:(*_][ \t]*|\b(?:the|our|my|a|an|so|thus|hence|final)[ \t]+)(?:(?:final|correct|right)[ \t]+)*
      answers?\b (?:[ \t*_]+(?:to|for|of)\b[^.:\n]{0,80}?)? [ \t*_]*
      (?: (?:\bis\b|\bare\b|\bwould\ be\b|\bwill\ be\b|\bmust\ be\b|\bshould\ be\b)
          (?!\s+(?:not\b|in\b|correct|that\b|based\b|obtained\b))
          (?:[ \t]+(?:indeed|therefore|thus|then|simply|option|choice|approximately|about))? [ \t*_]*:?
        | : | = ) [ \t*_]*
    | \bfinal\ answers?\b[*_: \t]*\n""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b[ap]\.m\.)(?<!\b(?:Mr|Dr|St|vs|ft|eq|cm|lb|oz|in)\.)(?<!\bMrs\.)(?<!\bapprox\.)[\"')*_]*\s+(?=\S)"
)
_LIST_MARK = re.compile(r"^\s*(?:>\s*)+(?=\*|[A-Za-z])|^[\s>#]*(?:[-*+•]\s+|\(?\d{1,2}[.)]\s+)+(?=\S)")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}")


def passages(whole: Masked) -> Iterator[Passage]:
    """Where the answer may stand, the surest place first: boxes, then statements, then sentences, each from the end."""
    yield from (Passage(content, "boxed") for content in reversed(_box_groups(whole)))
    for match in reversed(list(_STATED.finditer(whole.text))):
        rest = re.split("\n|</answer>", whole.text[match.end() :].lstrip(), maxsplit=1)[0]
        yield Passage(_SENTENCE_END.split(rest, maxsplit=1)[0], "stated")
    yield from (Passage(sentence, "sentence") for sentence in reversed(sentences(whole.text)))


def sentences(text: str) -> list[str]:
    """The sentences that may assert something: neither questions nor small talk."""
    lines = [_LIST_MARK.sub("", line) for line in text.splitlines()]
    every = [sentence.strip() for line in lines for sentence in _SENTENCE_END.split(line)]
    return [sentence for sentence in every if sentence and not _SMALL_TALK.search(sentence)]


def unwrapped(text: str) -> str:
    """The text without LaTeX's commands for words, whose content stays."""
    return _TEXT_COMMAND.sub(r" \1 ", text)


def _box_groups(whole: Masked) -> list[str]:
    """The content of each box; boxes that only "and", "or" or a comma part are one."""
    groups: list[list[str]] = []
    end = 0
    for match in re.finditer(f"[{chr(_BOX)}-{chr(_LAST)}]", whole.text):
        content = whole.boxes[ord(match[0]) - _BOX]
        if not groups or not _BETWEEN_BOXES.fullmatch(whole.text[end : match.start()]):
            groups.append([content])
        elif content not in groups[-1]:
            groups[-1].append(content)
        end = match.end()
    return [", ".join(contents) for contents in groups]
