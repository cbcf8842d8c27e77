"""Reads a judge's verdict from its reply, in every plain form: JSON, "Score: 7", "7/10", a lone number.

A reply that gives several scores, or one out of the range, gives none: which is meant would be a guess.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from persyn.rewards.quality.passages import without_thoughts

LOWEST, HIGHEST = 1, 10

_KEYS = ("score", "rating", "grade", "final_score", "overall_score", "overall", "verdict")
_REASONS = ("reason", "reasoning", "explanation", "justification")
_NUMBER = r"(?P<number>[-−]?\d+(?:\.\d+)?)(?![\w%]|\.\d)(?:\s*(?:/|out of)\s*(?P<of>\d+))?"
_SCALE = re.compile(r"\(?\b(?:on|from|in)?\s*(?:an?\s+)?(?:scale\s+(?:of|from)\s+)?1\s*(?:-|–|—|to|through)\s*10\b\)?")
_FINAL = re.compile(
    rf"\b(?:final|overall|total)\s+(?:score|rating|grade|verdict)\b[\s*_:=\"'`(\[]*(?:is|of)?[\s*_:=\"'`(\[]*{_NUMBER}",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"\b(?:score|rating|grade|verdict)\b[\s*_:=\"'`(\[]*(?:is|of|would be)?[\s*_:=\"'`(\[]*{_NUMBER}", re.IGNORECASE
)
_GIVEN = re.compile(
    rf"\b(?:give|rate|score|grade|assign|award|deserves|earns|gets)\b(?:\s+(?:it|this|the|that|a|an|answer|response|score|rating|of|as))*"
    rf"[\s*_:\"'`(\[]*{_NUMBER}",
    re.IGNORECASE,
)
_OF_TEN = re.compile(r"(?P<number>(?<![\w.])[-−]?\d+(?:\.\d+)?)\s*(?:/|out of)\s*(?P<of>10)(?![\w.]*\d)", re.IGNORECASE)
_ALONE = re.compile(rf"[\s*_\"'`(\[{{$\\]*(?:boxed\{{)?{_NUMBER}[\s*_\"'`)\]}}$.]*")


class JudgeVerdict(NamedTuple):
    """The judge's score, LOWEST to HIGHEST, and its reason, where it gives one."""

    score: float
    reason: str | None


class NoVerdict(ValueError):
    """The reply gives no score, several, or one out of the range; the message says which."""


def read_verdict(reply: str) -> JudgeVerdict:
    """The verdict of a reply. Raises NoVerdict."""
    text = without_thoughts(reply).strip()
    objects = [found for found in _json_objects(text) if any(key in found for key in _KEYS)]
    if objects:
        scores = [_of_json(next(found[key] for key in _KEYS if key in found)) for found in objects]
        reason = next((str(objects[-1][key]) for key in _REASONS if objects[-1].get(key)), None)
        return JudgeVerdict(_only(scores), reason)
    return JudgeVerdict(_only(_of_text(_SCALE.sub(" ", text))), None)


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a text, whatever stands around them."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
        else:
            found = {str(key).lower().replace(" ", "_"): value for key, value in found.items()}
            yield found
        start = text.find("{", start)


def _of_json(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _ALONE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise NoVerdict("its score is no number")
    return _score(found)


def _of_text(text: str) -> list[float]:
    """The scores that the surest form in the text gives."""
    last = (text.splitlines() or [""])[-1]
    for pattern in (_FINAL, _LABELLED, _OF_TEN, _GIVEN):
        if found := [_score(match) for match in pattern.finditer(text)]:
            return found
    alone = _ALONE.fullmatch(text) or _ALONE.fullmatch(last)
    return [_score(alone)] if alone else []


def _score(match: "re.Match[str]") -> float:
    if match["of"] not in (None, str(HIGHEST)):
        raise NoVerdict(f"its score is out of {match['of']}, not out of {HIGHEST}")
    return float(match["number"].replace("−", "-"))


def _only(scores: list[float]) -> float:
    if not scores:
        raise NoVerdict("no score is in it")
    if len(set(scores)) > 1:
        raise NoVerdict(f"it gives several scores: {', '.join(f'{score:g}' for score in scores[:5])}")
    if not LOWEST <= scores[0] <= HIGHEST:
        raise NoVerdict(f"its score {scores[0]:g} is not within {LOWEST} to {HIGHEST}")
    return scores[0]
