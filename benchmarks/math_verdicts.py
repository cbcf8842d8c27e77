"""Agreement of the scorer math_verify with published verdicts on real answers, and its verdicts per second.

A line of the data is a problem with its `reference_answer` and `responses: {teacher: {text, quality}}`. A guess is a
verdict that rests on the last number in sight or on a comparison as text. The child process that compares is started
before the clock.

    python -m benchmarks.math_verdicts --data gsm8k_parallel.jsonl.gz --answers 3000 --verdicts now.jsonl
    python -m benchmarks.math_verdicts --data gsm8k_parallel.jsonl.gz --answers 3000 --against before.jsonl
"""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.math_verify import math_verify_score

MADE_UP = [("So 6 * 12 = \\boxed{72}.", "72", 1.0), ("She has 18 marbles left.", "18", 1.0), ("\\boxed{5}", "6", 0.0)]


class Answer(NamedTuple):
    """One answer of the data with its published verdict."""

    key: str  # problem and teacher
    text: str
    reference: str
    published: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.math_verdicts")
    parser.add_argument("--data", type=Path, help="parallel answers with published verdicts")
    parser.add_argument("--answers", type=int, default=3000, help="drawn from all of the file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verdicts", type=Path, help="write each verdict to this file")
    parser.add_argument("--against", type=Path, help="list the verdicts that differ from those of this file")
    options = parser.parse_args()
    answers = _answers(options.data, options.answers, options.seed)
    math_verify_score("1", "1")
    began = time.perf_counter()
    verdicts = {answer.key: _verdict(answer) for answer in answers}
    seconds = time.perf_counter() - began
    print(_table(answers, verdicts, seconds))
    if options.verdicts:
        lines = [json.dumps({"key": key, **verdict}) for key, verdict in verdicts.items()]
        options.verdicts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.against:
        before = {row["key"]: row for row in map(json.loads, options.against.read_text(encoding="utf-8").splitlines())}
        _print_changes(answers, verdicts, before)


def _answers(data: Path | None, count: int, seed: int) -> list[Answer]:
    if data is None:
        return [Answer(str(n), *MADE_UP[n % len(MADE_UP)]) for n in range(min(count, 300))]
    with gzip.open(data, "rt", encoding="utf-8") if data.suffix == ".gz" else data.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    every = [
        Answer(f"{record['id']} {teacher}", response["text"], record["reference_answer"], response["quality"])
        for record in records
        for teacher, response in record["responses"].items()
    ]
    return random.Random(seed).sample(every, min(count, len(every)))


def _verdict(answer: Answer) -> dict[str, Any]:
    result = math_verify_score(answer.text, answer.reference)
    if isinstance(result, Measurement):
        return {"value": result.value, **result.detail}
    return {"value": None, "basis": "unchecked", "error": str(result)}


def _table(answers: Sequence[Answer], verdicts: dict[str, dict[str, Any]], seconds: float) -> str:
    counts = Counter(
        "unchecked" if (value := verdicts[answer.key]["value"]) is None
        else "agree" if value == answer.published
        else "right here, wrong there" if value else "wrong here, right there"
        for answer in answers
    )  # fmt: skip
    bases = Counter(verdict.get("basis", verdict.get("method")) for verdict in verdicts.values())
    return "\n".join(
        [
            f"{len(answers)} answers, {len(answers) / seconds:.0f} verdicts/s",
            *(f"{name:<26}{number:>7}{number / len(answers):>9.2%}" for name, number in counts.most_common()),
            "by basis: " + ", ".join(f"{name} {number}" for name, number in bases.most_common()),
        ]
    )


def _print_changes(
    answers: Sequence[Answer], verdicts: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]
) -> None:
    changed = [answer for answer in answers if before[answer.key]["value"] != verdicts[answer.key]["value"]]
    print(f"\n{len(changed)} verdicts changed:")
    for answer in changed:
        then, now = before[answer.key], verdicts[answer.key]
        print(f"\n{answer.key}: published {answer.published}, was {then['value']}, is {now['value']}")
        print(f"  reference {answer.reference!r}; was read {then.get('answer')!r}, is read {now.get('answer')!r}")
        print(f"  {now.get('basis')} {now.get('error', '')} ...{answer.text[-300:]!r}", file=sys.stdout)


if __name__ == "__main__":
    main()
