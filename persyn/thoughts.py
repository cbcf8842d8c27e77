"""Splits a model's thoughts off its answer, where they stand in the text between tags."""

import re
from typing import NamedTuple

_CLOSING = re.compile(r"</(?:think|thinking|thought)>|\[/THINK\]", re.IGNORECASE)
# Code is passed over: an answer about such tags quotes them, and keeps them.
_MARK = re.compile(r"```|`[^`\n]*`|</?(?:think|thinking|thought)>|\[/?THINK\]", re.IGNORECASE)


class Split(NamedTuple):
    """An answer without its thoughts; `reasoning` is None where there are none."""

    text: str
    reasoning: str | None


def split(text: str, reasoning: str | None = None) -> Split:
    """The answer and its thoughts; `reasoning` is what the server split off already, and comes first.

    A closing tag without an opening one ends thoughts that began with the text: the templates of many models open them
    in the prompt. Thoughts that open a line and have no end are all that follows.
    """
    answer, thoughts = _parts(text)
    kept = [part.strip() for part in (reasoning or "", *thoughts)]
    return Split(answer.strip() if thoughts else text, "\n\n".join(part for part in kept if part) or None)


def _parts(text: str) -> tuple[str, list[str]]:
    answer, thoughts = "", []
    at = scanned = 0  # the text is the answer's from `at` on
    last_closing = max((tag.start() for tag in _CLOSING.finditer(text)), default=-1)
    fenced = shown = False  # inside a block of code; which shows an opening tag
    while mark := _MARK.search(text, scanned):
        before, after_thoughts = text[scanned : mark.start()], scanned == at
        scanned = mark.end()
        closes = "/" in mark[0][:2]
        if mark[0].startswith("`"):
            fenced ^= mark[0] == "```"
        elif fenced and (shown or not closes):
            shown = True
        elif closes:
            thoughts.append(answer + text[at : mark.start()])
            answer, at, fenced = "", scanned, False
        elif scanned <= last_closing and (end := _CLOSING.search(text, scanned)):
            answer += text[at : mark.start()]
            thoughts.append(text[scanned : end.start()])
            at = scanned = end.end()
        elif (after_thoughts or "\n" in before) and not before.rpartition("\n")[2].strip():
            return answer + text[at : mark.start()], [*thoughts, text[scanned:]]
    return answer + text[at:], thoughts


def with_thought(thought: str, text: str) -> str:
    """An answer as a student learns it with its thought; without one as it is."""
    return f"<think>\n{thought.strip()}\n</think>\n\n{text.lstrip()}" if thought.strip() else text
