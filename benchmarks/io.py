"""Data in: rows a second and peak memory of an import, beside readers that only read the same rows.

Each measurement is a process of its own, so that its peak memory is its own:

- **json**: `json.loads` of every line, and nothing else: the least that anybody must do.
- **pyarrow**: `pyarrow.json`, which reads into columns and holds them all in memory, and `pyarrow.parquet` with its
  rows as objects.
- **checked**: the import's own reading: records, canonical prompts and their hashes, without Postgres.
- **import**: `import_prompts` into a new set, and once more, where all is there already.

On a busy machine the processor time of the process and of its server says more than the clock, and the ratios of one
run say more than either.
"""

import argparse
import json
import multiprocessing
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from sqlalchemy import Engine

from benchmarks import rivals, routed_run
from persyn.db import session
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.prompts import import_prompts
from persyn.imports.reader import open_source
from persyn.imports.reading import Reading
from persyn.imports.records import Record


class Cost(NamedTuple):
    """The cost of one measurement."""

    rows: int
    seconds: float
    processor_s: float  # of the process and, where it has one, of its server
    peak_mib: float  # of the process


Work = Callable[[Path, Engine], int]  # a file and a database → the rows that were read


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.io")
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="persyn-bench-io-") as folder, routed_run.site() as site:
        _import_half(Path(folder), rows, site.endpoints.database_url)


def _import_half(folder: Path, rows: int, address: str) -> None:
    lines, table = _write(folder, rows)
    costs = {
        "idle": _alone(_idle, lines, address),
        "json": _alone(_json, lines, address),
        "pyarrow, JSONL": _alone(_arrow_json, lines, address),
        "pyarrow, Parquet": _alone(_arrow_parquet, table, address),
        "checked, JSONL": _alone(_checked, lines, address),
        "checked, Parquet": _alone(_checked, table, address),
        "import, JSONL": _alone(_imported, lines, address),
        "import, again": _alone(_imported, lines, address),
        "import, Parquet": _alone(_imported, table, address),
    }
    _report(costs, rows)


def _write(folder: Path, rows: int) -> tuple[Path, Path]:
    """The same rows as JSONL and as Parquet."""
    found = [
        {"id": f"p{n}", "prompt": f"{n}: {routed_run.QUESTION}", "reference_answer": str(n), "level": n % 5}
        for n in range(rows)
    ]
    lines, table = folder / "rows.jsonl", folder / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(found), table)
    return lines, table


def _alone(work: Work, source: Path, address: str) -> Cost:
    """The cost of a work in a fresh process, which has nothing else in its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, source, address))


def _measured(work: Work, source: Path, address: str) -> Cost:
    engine = session.connect(address)
    with engine.connect() as conn:
        server = rivals.backend(conn)  # the pool hands this connection out again
    with rivals.Stopwatch(server) as watch:
        rows = work(source, engine)
    engine.dispose()
    return Cost(rows, watch.seconds, watch.processor_s, _peak_mib())


def _peak_mib() -> float:
    """The most memory that this program had; `ru_maxrss` would count what its parent had before."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _idle(source: Path, engine: Engine) -> int:
    """Nothing: the memory of a process that has loaded PerSyn and pyarrow."""
    return 0


def _json(source: Path, engine: Engine) -> int:
    with source.open("rb") as file:
        return sum(1 for line in file if json.loads(line))


def _arrow_json(source: Path, engine: Engine) -> int:
    return int(pa.json.read_json(source).num_rows)


def _arrow_parquet(source: Path, engine: Engine) -> int:
    return len(pa.parquet.read_table(source).to_pylist())


def _checked(source: Path, engine: Engine) -> int:
    reading = Reading()
    with open_source(str(source)) as opened:
        return sum(
            isinstance(record, Record) and isinstance(canonical(record.values, reading), Prompt)
            for record in opened.records()
        )


def _imported(source: Path, engine: Engine) -> int:
    return import_prompts(engine, source.suffix.strip("."), [str(source)]).read


def _report(costs: dict[str, Cost], rows: int) -> None:
    print(f"{'':<18} {'rows/s':>10} {'per processor s':>16} {'peak MiB':>9} {'× json':>8}")
    yardstick = costs["json"].processor_s / costs["json"].rows
    for name, cost in costs.items():
        if not cost.rows:
            print(f"{name:<18} {'':>10} {'':>16} {cost.peak_mib:>9,.0f}")
            continue
        per_row = max(cost.processor_s, 0.01) / cost.rows  # the kernel counts in hundredths
        print(
            f"{name:<18} {cost.rows / cost.seconds:>10,.0f} {1 / per_row:>16,.0f} {cost.peak_mib:>9,.0f}"
            f" {per_row / yardstick:>8.1f}"
        )
    print(json.dumps({"rows": rows, "costs": {name: cost._asdict() for name, cost in costs.items()}}))


if __name__ == "__main__":
    main()
