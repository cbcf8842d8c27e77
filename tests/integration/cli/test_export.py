"""`persyn export` as a command: its options, its last lines, and its exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs
from persyn.services import Endpoints

Export = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def export(world: Any, database_url: str, endpoints: Endpoints, tmp_path: Path) -> Export:
    """`export(option, …)` of the world's run, whose first two prompts are answered, the second one cut."""
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE run SET config = :config"), {"config": json.dumps(CONFIG)})
        conn.execute(text("""UPDATE prompt SET messages = '[{"role": "user", "content": "1+1?"}]'"""))
        world.enqueue(conn, world.prompts[:2])
        lease = world.lease(conn)
        world.answer(conn, lease, [claim.id for claim in jobs.claim(conn, lease, world.queue, 10)])
        conn.execute(
            text("""
            INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)
            SELECT r.id, p.id, 'persyn', 'static', :teacher, :lease FROM run r JOIN prompt p USING (prompt_set_id)
            """),
            {"teacher": world.teachers[0], "lease": lease},
        )
        conn.execute(
            text("UPDATE generation SET finish_reason = 'length' WHERE prompt_id = :p"), {"p": world.prompts[1]}
        )
    environment = os.environ | {
        "PERSYN_DATABASE_URL": database_url,
        "PERSYN_BROKER_URL": endpoints.broker_url,
        "PERSYN_HOME": str(tmp_path / "home"),
    }

    def call(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "persyn", "export", "run", "--out", str(tmp_path / "out"), *options]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    return call


CONFIG = {
    "name": "run", "prompts": "set", "student": {"name": "pupil", "model": "m"},
    "teachers": [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("small", "large")],
}  # fmt: skip


def test_it_says_what_is_there_what_stayed_behind_and_how_to_keep_it(export: Export, tmp_path: Path) -> None:
    done = export()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "`persyn export run --keep cut` keeps what was left out.",
        f"1 of 6 rows (left out: 1 cut; missing: 4 not_asked; unchecked: 1) are in {tmp_path / 'out'}",
    ]
    kept = export("--keep", "cut", "--format", "jsonl,parquet", "--layout", "messages", "--columns", "finish_reason")
    assert kept.stdout.startswith("2 of 6 rows (kept: 1 cut; missing: 4 not_asked; unchecked: 2) are in"), kept.stderr
    assert "--keep" not in kept.stdout
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert [(row["messages"][-1]["content"], row["finish_reason"], row["flaws"]) for row in rows] == [
        ("answer", "stop", ""), ("answer", "length", "cut"),
    ]  # fmt: skip


def test_an_export_without_a_row_is_no_success(export: Export, engine: Engine, tmp_path: Path) -> None:
    """verl needs reference answers, and these prompts have none; its rows are Parquet without being asked for."""
    done = export("--layout", "verl")
    assert done.returncode == 1
    assert done.stderr.startswith("persyn: No answer of run run can be exported: 0 of 6 rows (left out: 1 cut, 1 no_")
    assert (tmp_path / "out" / "train.parquet").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--keep", "wrnog"], ["options: export.keep[0]", "'wrnog'"]),
        (["--layout", "openai", "--columns", "all"], ["columns: a row of the layout openai has no further columns"]),
        (["--policy", "best"], ["--policy: got 'best'; choose one of persyn, strong"]),
        (["--policy", "budgeted"], ["--policy budgeted: the run run has no decisions of it"]),
        (["--validation", "1"], ["options: export.validation", "less than 1"]),
    ],
)
def test_a_mistake_in_an_option_is_one_sentence_and_writes_nothing(
    export: Export, tmp_path: Path, options: list[str], told: list[str]
) -> None:
    refused = export(*options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1
    assert [words for words in told if words not in refused.stderr] == []
    assert not list((tmp_path / "out").glob("*"))
