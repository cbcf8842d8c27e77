"""Renders what a long run recorded as the tables of docs/reliability.md: `python tests/chaos/table.py RESULTS`.

Everything between the two marks is replaced; the rest of the page is written by hand.
"""

import json
import os
import platform
import statistics
import sys
from datetime import date
from pathlib import Path
from typing import Any

from fleet import CONDITIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEAD = (
    "| fault | times | jobs | lost | doubled | dead | made again | fault lasts, s | next answer, s"
    " | lost jobs back, s | claimed again, s |"
)


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} ({max(seconds):.1f})" if seconds else "–"


def row(result: dict[str, Any]) -> str:
    lasted = max(result["lasted_s"], default=0.0)
    cells = [
        result["fault"] + (f"; {result['note']}" if result["note"] else ""), result["times"], result["jobs"],
        result["lost"], result["doubled"], result["dead"], result["again"], f"{lasted:.0f}" if lasted else "–",
        *(spread(result[name]) for name in ("answered_s", "back_s", "claimed_s")),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def conditions(starts_s: list[float]) -> str:
    waits = ", ".join(
        f"{name} {value:g}{'' if name == 'requests in flight' else ' s'}" for name, value in CONDITIONS.items()
    )
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    return (
        f"Measured {date.today()} on {machine}. {waits[0].upper()}{waits[1:]}. From the start of a worker until it"
        f" listens: {spread(starts_s)} s ({len(starts_s)} starts). Times are medians, the worst in brackets."
    )


def failed(line: dict[str, Any]) -> str:
    return f"| **FAILED**: `{line['failed']}`: {line['why'].replace('|', '/')} |" + " – |" * 10


def main() -> None:
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    latest = {line["fault"]: line for line in lines if "fault" in line}
    starts_s = [seconds for result in latest.values() for seconds in result["starts_s"]]
    table = [HEAD, "|---|" + "---:|" * 10, *(row(result) for result in latest.values())]
    table += [failed(line) for line in lines if "failed" in line]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([before + BEGIN, conditions(starts_s), "", *table, END]) + after)


if __name__ == "__main__":
    main()
