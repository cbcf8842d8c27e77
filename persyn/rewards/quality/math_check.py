"""The program that `checker` runs in a process of its own: it compares an answer's final answer with the reference, or
with those of other answers.

Three steps: the final answer is found (`passages`, `final_answer`, `worded_answer`), both sides are brought into one
notation (`notation`), and compared, numbers exactly, formulas by the library math_verify, words as words.

It is a process because math_verify computes what hostile text tells it to: 9^9^9^9 takes forever inside one C call,
where neither a thread nor an exception can stop it. math_verify's own time limits are signals that work in a main
thread only and that such a call ignores, so they are off; instead the kernel's alarm, left at its default, ends this
whole process. It counts the time that the process computes, so that a busy machine changes no verdict. One JSON line
in, one out.
"""

import json
import logging
import re
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from math_verify import LatexExtractionConfig, parse, verify

from persyn.rewards.quality.final_answer import COMMAND, FinalAnswer, final_formula
from persyn.rewards.quality.notation import Literal, in_one_notation, literal
from persyn.rewards.quality.open_answer import open_answer
from persyn.rewards.quality.passages import masked, passages, unwrapped, without_thoughts
from persyn.rewards.quality.worded_answer import OPPOSITE, admits_ignorance, compare_words, final_choice, final_polarity

SECONDS = 5  # of computing
MEMORY = 4 << 30  # bytes of address space
LONGEST = 1_000  # characters of a final answer: a longer one is a text
TAIL = 4_000  # characters: the final answer stands at the end, and parsing is not linear in the length
# A decimal may be rounded: at the sixth place, but not where it would lose its first digits.
ROUNDED, SHARE = Fraction(5, 10**7), Fraction(1, 10**5)

# Else the library takes a part that it can read for the whole.
WHOLE = LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0)

_CHOICE = re.compile(r"\W*([A-HJ-Z])\W*")
_NUMBER_WORD = re.compile(
    r"\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|half|dozen)\b",
    re.IGNORECASE,
)
_WORDS_FIRST = re.compile(r"[^\d=^_+*/<>|]*?[A-Za-z]{2,}")


class Verdict(NamedTuple):
    """`same` is None where the two cannot be compared, and `reason` then says why."""

    same: bool | None
    basis: str
    answer: str
    reason: str = ""


def check(answer: str, reference: str) -> dict[str, Any]:
    """The verdict: value 1.0, 0.0, or None with a reason; what it rests on, and what was read on both sides."""
    text = without_thoughts(answer)[-TAIL:]
    gold = asked_for(reference)
    verdict = _judge(text, gold)
    detail = {"basis": verdict.basis, "answer": verdict.answer[:200], "reference": gold[:200]}
    value = None if verdict.same is None else float(verdict.same)
    return {"value": value, "reason": verdict.reason, "detail": detail}


def find(answer: str) -> dict[str, Any]:
    """The final answer of a text without a reference: its values as a list, several where any may be meant, and how."""
    found = open_answer(without_thoughts(answer)[-TAIL:])
    return {"value": [value[:LONGEST] for value in found.values], "detail": {"basis": found.basis}}


def same(one: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    """Whether two final answers, as `find` gives them, are the same; None where nobody can tell."""
    verdicts = {same_answer(mine, theirs) for mine in one for theirs in other}
    return {"value": True if True in verdicts else None if None in verdicts else False}


def same_answer(one: str, other: str) -> bool | None:
    """Whether two values or words mean the same, whichever of them is held against the other."""
    if one.strip() == other.strip():
        return True
    verdicts = {_judge(f"\\boxed{{{mine}}}", theirs).same for mine, theirs in ((one, other), (other, one))}
    return True if True in verdicts else None if None in verdicts else False


def asked_for(reference: str) -> str:
    """The reference itself, or the final answer of one that is a sentence or a whole solution."""
    first = next(iter(passages(whole := masked(reference))), None)
    if first is None or first.place == "sentence":
        return reference.strip()
    return whole.unmasked(first.text).strip() or reference.strip()


def _judge(text: str, gold: str) -> Verdict:
    plain = unwrapped(gold).strip()
    if not text.strip() or not plain:
        return Verdict(False, "nothing", "")
    if choice := _CHOICE.fullmatch(plain):
        found = final_choice(text)
        return _same_word(found, choice[1]) or _without_word(
            text, "it names no option, and which option is meant is not known"
        )
    if plain.strip(" .").lower() in OPPOSITE:
        found = final_polarity(text)
        return _same_word(found, plain.strip(" .").lower()) or _without_word(text, "it says neither yes nor no")
    if _WORDS_FIRST.match(COMMAND.sub(" ", plain)):
        words = compare_words(text, plain)
        return Verdict(words.same, words.basis, words.answer, "its words differ and may mean the same")
    found = final_formula(text)
    if not found.values and (word := _NUMBER_WORD.search(text)):
        return Verdict(None, "text", word[0], "its number is written as a word")
    return _judge_formula(found, gold)


def _same_word(found: FinalAnswer, wanted: str) -> Verdict | None:
    return Verdict(found.values[0] == wanted, found.basis, found.values[0]) if found.values else None


def _without_word(text: str, reason: str) -> Verdict:
    """The verdict where the letter or the word that was asked for is not to be found."""
    value, basis = final_formula(text)
    if basis in ("sentence", "last_in_sight"):
        value = ()
    if not value and (admits_ignorance(text) or not re.search(r"\w", text)):
        return Verdict(False, "nothing", "")
    return Verdict(None, "text", ", ".join(value) or text[-100:], reason)


def _judge_formula(found: FinalAnswer, gold: str) -> Verdict:
    if not found.values:
        return Verdict(False, "nothing", "")
    verdicts = [same_value(gold, value) for value in found.values]
    same = True if True in verdicts else None if None in verdicts else False
    if same is None and found.basis in ("sentence", "last_in_sight"):
        same = False  # what nobody calls the answer, and nobody can read, is none
    return Verdict(same, found.basis, " = ".join(found.values), "one of the two cannot be read as mathematics")


def same_value(gold: str, found: str) -> bool | None:
    """Whether two values are equal; None where they cannot be compared."""
    if (half := _half_of_day(gold)) and (other_half := _half_of_day(found)) and half != other_half:
        return False
    ours, theirs = in_one_notation(gold), in_one_notation(found)
    if ours == theirs:
        return True
    one, other = literal(ours), literal(theirs)
    if one and other:
        return same_number(one, other)
    return _same_formula(ours, theirs)


def _half_of_day(text: str) -> str:
    found = re.search(r"(?<=\d)\W*(?:\\text\s*\{\s*)?([ap])\.?\s?m\b", text, re.IGNORECASE)
    return found[1].lower() if found else ""


def same_number(one: Literal, other: Literal) -> bool:
    """Equal but for the rounding of a decimal; a percent sign on one side alone may also stand for "of a hundred"."""
    if _near(one, other):
        return True
    if one.percent == other.percent:
        return False
    return _near(one._replace(value=one.value / 100), other) or _near(one, other._replace(value=other.value / 100))


def _near(one: Literal, other: Literal) -> bool:
    if one.exact and other.exact:
        return one.value == other.value
    largest = max(abs(one.value), abs(other.value))
    return abs(one.value - other.value) <= min(ROUNDED, SHARE * largest)


def _same_formula(ours: str, theirs: str) -> bool | None:
    gold, found = _parsed(ours), _parsed(theirs)
    if gold and found and verify(gold, found, timeout_seconds=None):
        return _as_near(gold[0], found[0])
    if _read(gold) and (_read(found) or not re.search(r"\d", theirs)):
        return False
    return None


def _as_near(gold: Any, found: Any) -> bool:
    """Whether numbers that math_verify takes for equal are so: it rounds, which makes all small numbers equal."""
    if not all(getattr(side, "is_number", False) and side.is_real for side in (gold, found)):
        return True
    one, other = (float(side.evalf(30)) for side in (gold, found))
    largest = max(abs(one), abs(other))
    return abs(one - other) <= float(SHARE) * largest or largest < 1e-25


def _parsed(text: str) -> list[Any]:
    return list(parse(rf"\boxed{{{text}}}", [WHOLE], parsing_timeout=None))


def _read(parsed: list[Any]) -> bool:
    """Whether the library read a formula; where it cannot, it gives the text back."""
    return bool(parsed) and not isinstance(parsed[0], str)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"check": check, "find": find, "same": same}


def main() -> None:
    logging.disable()  # math_verify warns that its time limits are off
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("ready", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            task, *given = json.loads(line)
            verdict = TASKS[task](*given)
        except Exception as exc:  # text from outside in a library from outside
            verdict = {"value": None, "reason": f"comparing it failed: {type(exc).__name__}", "detail": {}}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
