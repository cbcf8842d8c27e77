"""Data in and out: rows a second and peak memory, beside libraries that only read or write the same rows.

Each measurement is a process of its own, so that its peak memory is its own. In, where the yardstick is `json`:

- **json**: `json.loads` of every line, and nothing else: the least that anybody must do.
- **pyarrow**: `pyarrow.json`, which reads into columns and holds them all in memory, and `pyarrow.parquet` with its
  rows as objects. **datasets**: `Dataset.from_json`, which writes an Arrow file.
- **checked**: the import's own reading: records, canonical prompts and their hashes, without Postgres.
- **import**: `import_prompts` into a new set, and once more, where all is there already.

Out, where the yardstick is `pyarrow` from the exported JSONL to Parquet, whole in memory; a twentieth of the answers,
of 1.2 KB each, are cut and stay behind.

On a busy machine the processor time of the process and of its server says more than the clock, and the ratios of one
run say more than either.
"""

import argparse
import json
import multiprocessing
import re
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from sqlalchemy import Engine, text

from benchmarks import rivals, routed_run
from persyn.config import Export
from persyn.db import session
from persyn.exports.write import export_run
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.prompts import import_prompts
from persyn.imports.reader import open_source
from persyn.imports.reading import Reading
from persyn.imports.records import Record


class Cost(NamedTuple):
    """The cost of one measurement."""

    rows: float
    seconds: float
    processor_s: float  # of the process and, where it has one, of its server
    peak_mib: float  # of the process

    def per_row(self) -> float:
        """Processor seconds; the kernel counts in hundredths."""
        return max(self.processor_s, 0.01) / self.rows


Work = Callable[[Engine], int]  # a database → the rows that were read or written
Measure = Callable[[Work], Cost]

_ANSWERS = text("""
WITH jobs AS (
    INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, state, finished_at)
    SELECT :run_id, 'generate', 'q', 50, prompt_id, teacher_id, 'done', now()
    FROM routing_decision WHERE run_id = :run_id
    RETURNING id, prompt_id, teacher_id
)
INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed, latency_s,
                        job_id, lease_id)
SELECT prompt_id, teacher_id, prompt_id || :answer, CASE WHEN prompt_id % 20 = 0 THEN 'length' ELSE 'stop' END,
       40, 260, 0, 1.0, id, (SELECT min(id) FROM lease)
FROM jobs
""")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.io")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=1, help="rounds, of which the medians count")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="persyn-bench-io-") as folder, routed_run.site() as site:
        measure = partial(_alone, site.endpoints.database_url)
        found = {
            "in": _rounds(lambda n: _imports(Path(folder), options.rows, f"{n}", measure), options.repeat, "json"),
        }
        run_id = _answered_run(site.engine, options.rows)
        found["out"] = _rounds(
            lambda n: _exports(Path(folder), run_id, measure), options.repeat, "pyarrow, JSONL to Parquet"
        )
    print(json.dumps({"rows": options.rows, "repeat": options.repeat} | found))


def _imports(folder: Path, rows: int, name: str, measure: Measure) -> dict[str, Cost]:
    lines, table = _write(folder, rows, name)
    return {
        "idle": measure(_idle),
        "json": measure(partial(_json, lines)),
        "pyarrow, JSONL": measure(partial(_arrow_json, lines)),
        "pyarrow, Parquet": measure(partial(_arrow_parquet, table)),
        "datasets, JSONL": measure(partial(_datasets_json, lines)),
        "checked, JSONL": measure(partial(_checked, lines)),
        "checked, Parquet": measure(partial(_checked, table)),
        "import, JSONL": measure(partial(_imported, lines)),
        "import, again": measure(partial(_imported, lines)),
        "import, Parquet": measure(partial(_imported, table)),
    }


def _exports(folder: Path, run_id: int, measure: Measure) -> dict[str, Cost]:
    source = folder / "out" / "train.jsonl"
    return {
        "idle": measure(_idle),
        "export, JSONL": measure(partial(_exported, run_id, source.parent, Export(formats=["jsonl"]))),
        "pyarrow, JSONL to Parquet": measure(partial(_arrow_convert, source, folder / "yardstick.parquet")),
        "datasets, JSONL to Parquet": measure(partial(_datasets_convert, source, folder / "datasets.parquet")),
        "export, Parquet": measure(partial(_exported, run_id, folder / "parquet", Export(formats=["parquet"]))),
        "export, both, all columns": measure(
            partial(_exported, run_id, folder / "both", Export(formats="all", columns="all"))
        ),
    }


def _write(folder: Path, rows: int, name: str) -> tuple[Path, Path]:
    """The same rows as JSONL and as Parquet; their texts and the files are the round's own."""
    found = [
        {"id": f"p{n}", "prompt": f"{name}, {n}: {routed_run.QUESTION}", "reference_answer": str(n), "level": n % 5}
        for n in range(rows)
    ]
    lines, table = folder / f"rows-{name}.jsonl", folder / f"rows-{name}.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(found), table)
    return lines, table


def _answered_run(engine: Engine, rows: int) -> int:
    run_id = routed_run.create(engine, "exported", rows)
    with engine.begin() as conn:
        conn.execute(_ANSWERS, {"run_id": run_id, "answer": routed_run.ANSWER})
    routed_run.vacuum(engine)
    return run_id


def _alone(address: str, work: Work) -> Cost:
    """The cost of a work in a fresh process, which has nothing else in its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, address))


def _measured(work: Work, address: str) -> Cost:
    engine = session.connect(address)
    with engine.connect() as conn:
        server = rivals.backend(conn)  # the pool hands this connection out again
    with rivals.Stopwatch(server) as watch:
        rows = work(engine)
    engine.dispose()
    return Cost(rows, watch.seconds, watch.processor_s, _peak_mib())


def _peak_mib() -> float:
    """The most memory that this program had; `ru_maxrss` would count what its parent had before."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _idle(engine: Engine) -> int:
    """Nothing: the memory of a process that has loaded PerSyn and pyarrow."""
    return 0


def _json(source: Path, engine: Engine) -> int:
    with source.open("rb") as file:
        return sum(1 for line in file if json.loads(line))


def _arrow_json(source: Path, engine: Engine) -> int:
    return int(pa.json.read_json(source).num_rows)


def _arrow_parquet(source: Path, engine: Engine) -> int:
    return len(pa.parquet.read_table(source).to_pylist())


def _datasets_json(source: Path, engine: Engine) -> int:
    return len(_loaded(source))


def _checked(source: Path, engine: Engine) -> int:
    reading = Reading()
    with open_source(str(source)) as opened:
        return sum(
            isinstance(record, Record) and isinstance(canonical(record.values, reading), Prompt)
            for record in opened.records()
        )


def _imported(source: Path, engine: Engine) -> int:
    return import_prompts(engine, source.name, [str(source)]).read


def _exported(run_id: int, folder: Path, export: Export, engine: Engine) -> int:
    return export_run(engine, run_id, folder, export).rows


def _arrow_convert(source: Path, target: Path, engine: Engine) -> int:
    table = pa.json.read_json(source)
    pa.parquet.write_table(table, target, compression="zstd")
    return int(table.num_rows)


def _datasets_convert(source: Path, target: Path, engine: Engine) -> int:
    rows = _loaded(source)
    rows.to_parquet(target)
    return len(rows)


def _loaded(source: Path) -> Any:
    import datasets  # in the process that measures it alone: it takes 80 MiB

    datasets.disable_progress_bars()
    return datasets.Dataset.from_json(str(source), cache_dir=str(source.parent / "cache"))


def _rounds(measured: Callable[[int], dict[str, Cost]], repeat: int, yardstick: str) -> dict[str, dict[str, float]]:
    """The medians of the rounds, printed beside the yardstick's."""
    turns = [measured(n) for n in range(repeat)]
    costs = {
        name: Cost(*map(statistics.median, zip(*(turn[name] for turn in turns), strict=True))) for name in turns[0]
    }
    print(f"{'':<28} {'rows/s':>10} {'per processor s':>16} {'peak MiB':>9} {'× ' + yardstick.split(',')[0]:>10}")
    least = costs[yardstick].per_row()
    for name, cost in costs.items():
        if not cost.rows:
            print(f"{name:<28} {'':>10} {'':>16} {cost.peak_mib:>9,.0f}")
            continue
        print(
            f"{name:<28} {cost.rows / cost.seconds:>10,.0f} {1 / cost.per_row():>16,.0f} {cost.peak_mib:>9,.0f}"
            f" {cost.per_row() / least:>10.1f}"
        )
    return {name: cost._asdict() for name, cost in costs.items()}


if __name__ == "__main__":
    main()
