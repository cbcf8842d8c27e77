"""What import-linter and ruff cannot see: what starting up really loads, how long things are, who writes job.state."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "vllm", "sklearn", "trl", "peft")
FOLDERS = ("persyn", "workers", "api", "migrations")
FILE_LIMIT, FUNCTION_LIMIT = 400, 50
# A migration is written by Alembic and never changed; one function of it makes all tables.
GENERATED = "migrations/versions/"

WRITERS = (
    "enqueue", "enqueue_new", "enqueue_one", "enqueue_ranges", "claim", "claim_on", "claim_suspect", "complete",
    "retry", "release", "lose", "postpone", "cancel", "revive",
)  # fmt: skip
# Assignments to a job's state in SQL or in SQLAlchemy: `SET ... state = 'x'`, `update(Job).values(state=...)`.
WRITES_STATE = (
    re.compile(r"\bUPDATE\s+(ONLY\s+)?job\b[^;]*?\bSET\b[^;]*?(?<![\w.])state\s*=", re.IGNORECASE),
    re.compile(r"\bINSERT\s+INTO\s+job\b(?!_)", re.IGNORECASE),
    re.compile(r"\b(update|insert)\(\s*(\w+\.)*Job(\.__table__)?\s*\)"),
    re.compile(r"^\s*(\w+\.)*job\.state\s*=(?!=)", re.MULTILINE),
)


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """(path from the root, text) of every Python and SQL file under the folders that exist."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def loaded_by(module: str) -> set[str]:
    """Top-level names of all that a fresh interpreter has loaded after importing a module."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow  # each starts an interpreter
@pytest.mark.parametrize(
    "module",
    [
        "persyn.config",
        "persyn.jobs",
        "persyn.db.models",
        "persyn.db.migrate",
        "persyn.cli.main",
        "persyn.api.app",
        "persyn.workers.app",
    ],
)
def test_starting_up_loads_no_heavy_library(module: str) -> None:
    assert loaded_by(module).isdisjoint(HEAVY)


@pytest.mark.slow  # likewise
def test_a_heavy_library_would_be_seen() -> None:
    assert "sqlalchemy" in loaded_by("persyn.jobs")


def test_no_file_is_too_long() -> None:
    lengths = {path: text.count("\n") for path, text in sources(*FOLDERS) if not path.startswith(GENERATED)}
    assert len(lengths) > 10
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LIMIT} == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{path}:{node.lineno} {node.name}": length
        for path, text in sources(*FOLDERS)
        if path.endswith(".py") and not path.startswith(GENERATED)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LIMIT
    }
    assert long == {}


def writers(files: Iterator[tuple[str, str]]) -> set[str]:
    return {path for path, text in files if any(pattern.search(text) for pattern in WRITES_STATE)}


def test_only_jobs_writes_the_state_of_a_job() -> None:
    """Each in a file of its own, which persyn/jobs/protocol.py calls."""
    assert writers(sources("persyn", "workers", "api")) == {f"persyn/jobs/sql/{name}.sql" for name in WRITERS}


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("UPDATE job SET state = 'done'", True),
        ("update job\n  SET lease_id = NULL, state = 'ready' WHERE id = 1", True),
        ("WITH x AS (UPDATE job AS j SET stage = 1, state = CASE WHEN true THEN 'a' END)", True),
        ("INSERT INTO job (run_id) VALUES (1)", True),
        ("conn.execute(update(Job).values(state='done'))", True),
        ("insert(models.Job)", True),
        ("job.state = 'done'", True),
        ("INSERT INTO job_event (job_id) VALUES (1)", False),
        ("SELECT * FROM job WHERE job.state = 'done'", False),
        ("if job.state == 'done'", False),
        ("UPDATE run SET finished_at = NULL", False),
    ],
)
def test_writing_a_state_is_recognised(code: str, writes: bool) -> None:
    assert bool(writers(iter([("x.py", code)]))) is writes
