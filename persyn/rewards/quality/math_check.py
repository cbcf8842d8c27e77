"""The program that `quality` runs in a process of its own: it compares two mathematical answers.

It exists because math_verify computes what hostile text tells it to: 9^9^9^9 takes forever inside one C call, where
neither a thread nor an exception can stop it. math_verify's own time limits are signals that work in a main thread only
and that such a call ignores, so they are off; instead the kernel's alarm, left at its default, ends this whole process.
One JSON line in, one out; run as a file, so it imports nothing of the project.
"""

import json
import logging
import re
import resource
import signal
import sys
from typing import Any

from math_verify import parse, verify

SECONDS = 5
MEMORY = 4 << 30  # bytes of address space
TAIL = 4_000  # characters: the final answer stands at the end, and parsing is not linear in the length

NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")
# Of a dollar amount in prose: two of them would read as a formula between dollar signs.
CURRENCY = re.compile(r"(?<![\\$\w])\$(?=\d[\d,]*(?:\.\d+)?(?:[\s.,;:!?)*]|$))(?![^$\n]{0,40}[=+*/^\\{}][^$\n]*\$)")


def check(answer: str, reference: str) -> dict[str, Any]:
    """The verdict: value 1.0 or 0.0, how it was reached, and what was read as the answer and as the reference."""
    tail = answer[-TAIL:]
    gold_number = _whole_number(reference)
    gold = _parse(gold_number or _as_formula(reference))
    found = _parse(CURRENCY.sub("", tail))
    if found and gold:
        same = bool(verify(gold, found, timeout_seconds=None))
        return _verdict(same, "math_verify", found[-1], gold[-1])
    numbers = NUMBER.findall(tail)
    if numbers and gold_number:
        last = numbers[-1].replace(",", "")
        return _verdict(float(last) == float(gold_number), "last_number", last, gold_number)
    return _verdict(bool(tail.strip()) and tail.strip() == reference.strip(), "text", tail[-100:], reference)


def _verdict(same: bool, method: str, answer: object, reference: object) -> dict[str, Any]:
    detail = {"method": method, "answer": str(answer)[:200], "reference": str(reference)[:200]}
    return {"value": float(same), "detail": detail}


def _parse(text: str) -> list[Any]:
    return list(parse(text, parsing_timeout=None))


def _whole_number(text: str) -> str | None:
    """The reference as a bare number, if it is one: "$1,234.00" and "72." are."""
    bare = text.strip().strip("$").rstrip(".").strip()
    return bare.replace(",", "") if NUMBER.fullmatch(bare) else None


def _as_formula(text: str) -> str:
    """A reference is nothing but its formula, which math_verify reads whole only where it is marked as one."""
    return text if "$" in text or "\\boxed" in text else f"\\boxed{{{text}}}"


def main() -> None:
    logging.disable()  # math_verify warns that its time limits are off
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("ready", flush=True)
    for line in sys.stdin:
        signal.alarm(SECONDS)
        try:
            verdict = check(*json.loads(line))
        except Exception as exc:  # an answer that sympy cannot compare is no right answer
            verdict = {"value": 0.0, "detail": {"method": "error", "error": type(exc).__name__}}
        signal.alarm(0)
        print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
