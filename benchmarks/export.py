"""Export of a run from its tables to files: rows/s and memory, beside pyarrow writing the same rows from memory.

The rows are answers of 1.2 KB, a twentieth of them cut. Each measurement has a process of its own; its memory is the
most that it had resident, beside that of a process that has only imported the code.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
from sqlalchemy import Engine, text

from benchmarks import routed_run
from persyn.config import Export
from persyn.db import session
from persyn.exports.write import export_run

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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with routed_run.site() as site, tempfile.TemporaryDirectory() as folder:
        run_id = _answered_run(site.engine, options.rows)
        url, source = site.endpoints.database_url, Path(folder) / "source"
        base = _apart(_nothing)["memory_mb"]
        measurements: dict[str, tuple[Callable[..., int], Any]] = {
            "jsonl": (_export, (url, run_id, folder, Export(formats=["jsonl"]))),
            "parquet": (_export, (url, run_id, folder, Export(formats=["parquet"]))),
            "both, all columns": (_export, (url, run_id, folder, Export(formats="all", columns="all"))),
            "pyarrow: parquet": (_pyarrow, (source / "train.jsonl", Path(folder) / "yardstick.parquet")),
        }
        _export(url, run_id, source, Export())
        found: dict[str, Any] = {"rows": options.rows}
        for name, (work, arguments) in measurements.items():
            turns = [_apart(work, *arguments) for _ in range(options.repeat)]
            found[name] = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            found[name]["memory_mb"] -= base
            print(f"{name:<20} {found[name]['rows_a_second']:>9,.0f} rows/s  {found[name]['memory_mb']:>6,.0f} MB more")
    print(json.dumps(found))


def _answered_run(engine: Engine, rows: int) -> int:
    run_id = routed_run.create(engine, "exported", rows)
    with engine.begin() as conn:
        conn.execute(_ANSWERS, {"run_id": run_id, "answer": routed_run.ANSWER})
    routed_run.vacuum(engine)
    return run_id


def _apart(work: Callable[..., int], *arguments: Any) -> dict[str, float]:
    """The work in a process of its own: rows a second, and the most memory that it had."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (work, *arguments))


def _measure(work: Callable[..., int], *arguments: Any) -> dict[str, float]:
    began = time.perf_counter()
    rows = work(*arguments)
    seconds = time.perf_counter() - began
    return {
        "rows_a_second": rows / seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _nothing() -> int:
    return 0


def _export(url: str, run_id: int, folder: str | Path, export: Export) -> int:
    engine = session.connect(url)
    manifest = export_run(engine, run_id, Path(folder), export)
    engine.dispose()
    return manifest.rows


def _pyarrow(source: Path, target: Path) -> int:
    """pyarrow from JSONL to Parquet, whole in memory: no database, no shape to be made."""
    table: pa.Table = pyarrow.json.read_json(source)
    pq.write_table(table, target, compression="zstd")
    return int(table.num_rows)


if __name__ == "__main__":
    main()
