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
HEAD = "| fault | times | jobs | lost | doubled | dead | made again | recovery, median (worst), s |"


def row(result: dict[str, Any]) -> str:
    seconds = result["recovery_s"]
    recovery = f"{statistics.median(seconds):.1f} ({max(seconds):.1f})" if seconds else "–"
    again = f"{result['again']}"
    cells = [
        result["fault"] + (f"; {result['note']}" if result["note"] else ""), result["times"], result["jobs"],
        result["lost"], result["doubled"], result["dead"], again, recovery,
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def conditions() -> str:
    waits = ", ".join(
        f"{name} {value:g}{'' if name == 'requests in flight' else ' s'}" for name, value in CONDITIONS.items()
    )
    return f"Measured {date.today()} on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}. {waits}."


def main() -> None:
    latest = {result["fault"]: result for result in map(json.loads, Path(sys.argv[1]).read_text().splitlines())}
    table = [HEAD, "|---|" + "---:|" * 7, *(row(result) for result in latest.values())]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([before + BEGIN, conditions(), "", *table, END]) + after)


if __name__ == "__main__":
    main()
