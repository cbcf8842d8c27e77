"""A full disk under the export: one clear sentence, nothing half written, and it works once there is room."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk import small
from fleet import Fleet


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with small(tmp_path / "disk", "size=16k") as folder:
        yield folder


@pytest.mark.chaos_long
def test_an_export_onto_a_full_disk_says_so_and_works_when_there_is_room(fleet: Fleet, tiny_disk: Path) -> None:
    fleet.load(200)
    fleet.start()
    fleet.finish()
    command = [sys.executable, "-m", "persyn", "export", "run", "--keep", "all", "--out", str(tiny_disk / "out")]

    def export() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, capture_output=True, text=True, env=fleet.environment, timeout=120)

    fleet.fault()
    failed = export()
    assert failed.returncode != 0
    assert "No space left on device" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not [path for path in tiny_disk.rglob("*") if path.is_file()]
    subprocess.run(["mount", "-o", "remount,size=4m", tiny_disk], check=True)
    assert export().returncode == 0
    assert len((tiny_disk / "out" / "train.jsonl").read_text().splitlines()) == 200
    fleet.verdict("disk full for the export")
