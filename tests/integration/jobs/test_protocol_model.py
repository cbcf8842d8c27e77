"""spin looks at every order of events of the protocol's model, and finds each fault that is planted in it.

`make protocol` runs all of it; without it only what takes seconds is run.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

MODEL = Path(__file__).parents[3] / "docs" / "protocol" / "lease.pml"
LONG = pytest.mark.chaos_long
SAFETY = ("-DSAFETY", "-DNOCLAIM")
LIVENESS = ("-DNFAIR=4",)
MEASURED = r"^pan:1|errors:|states, stored|actual memory|elapsed"

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("gcc") is None, reason="spin or gcc is not installed here"
)


class Found(NamedTuple):
    """What spin counted, and the first thing that it found wrong."""

    states: int
    depth: int
    wrong: str


def check(folder: Path, *sizes: str, every_job_ends: bool = False) -> Found:
    """Look at every state of the model; `every_job_ends`: at every endless run, too, under weak fairness."""
    folder.joinpath("lease.pml").write_text(MODEL.read_text())
    kind, options = (LIVENESS, ["-a", "-f"]) if every_job_ends else (SAFETY, [])
    called(folder, "spin", "-a", *(f"-D{size}" for size in sizes), "lease.pml")
    called(folder, "gcc", "-O0", "-w", "-DCOLLAPSE", "-DMEMLIM=8000", *kind, "-o", "pan", "pan.c")
    said = called(folder, "./pan", "-m400000", *options)
    counted = re.search(r"depth reached (\d+), errors: (\d+)\n\s*(\d+) states, stored", said)
    assert counted is not None, said
    assert "max search depth too small" not in said
    wrong = re.search(r"^pan:1: (.+)", said, re.MULTILINE)
    print(f"{' '.join(sizes)}:", *(line.strip() for line in said.splitlines() if re.search(MEASURED, line)), sep="\n  ")
    return Found(int(counted[3]), int(counted[1]), wrong[1] if wrong else "")


def called(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "sizes",
    [
        ("WORKERS=2", "ANSWERS=1", "FAULTS=1", "MOVES=0"),
        pytest.param(("WORKERS=2", "ANSWERS=2", "FAULTS=0", "MOVES=1"), marks=LONG),
        pytest.param(("WORKERS=2", "ANSWERS=2", "FAULTS=1", "MOVES=0"), marks=LONG),
        pytest.param(("WORKERS=2", "ANSWERS=1", "SCORED=1", "FAULTS=1", "MOVES=0"), marks=LONG),
        pytest.param(("WORKERS=3", "ANSWERS=1", "FAULTS=1", "MOVES=1"), marks=LONG),
        pytest.param(("WORKERS=3", "ANSWERS=2", "FAULTS=0", "MOVES=1"), marks=LONG),
    ],
    ids=" ".join,
)
def test_no_order_of_events_breaks_a_promise(tmp_path: Path, sizes: tuple[str, ...]) -> None:
    found = check(tmp_path, *sizes)
    assert found.wrong == ""
    assert found.states > 1000


@LONG
@pytest.mark.parametrize(
    "sizes",
    [
        ("WORKERS=2", "ANSWERS=1", "FAULTS=1", "MOVES=0"),
        ("WORKERS=2", "ANSWERS=1", "FAULTS=0", "MOVES=0", "BY_WAKE_UPS"),
        ("WORKERS=3", "ANSWERS=1", "FAULTS=0", "MOVES=0"),
    ],
    ids=" ".join,
)
def test_every_job_ends(tmp_path: Path, sizes: tuple[str, ...]) -> None:
    assert check(tmp_path, *sizes, every_job_ends=True).wrong == ""


SMALL = ("WORKERS=2", "ANSWERS=2", "FAULTS=1", "MOVES=0")


@pytest.mark.parametrize(
    ("planted", "sizes"),
    [
        ("STAGE_AT_ANY_TIME", ("WORKERS=2", "ANSWERS=2", "FAULTS=0", "MOVES=1")),
        ("LOSS_COSTS_AN_ATTEMPT", SMALL),
        ("SUSPECTS_IN_COMPANY", SMALL),
        ("COUNT_LATE", ("WORKERS=2", "ANSWERS=1", "SCORED=1", "FAULTS=1", "MOVES=0")),
        pytest.param("NO_FENCE", SMALL, marks=LONG),
        pytest.param("ANY_OWNER", SMALL, marks=LONG),
        pytest.param("NO_HOLD", SMALL, marks=LONG),
        pytest.param("REAP_WHAT_IS_LOCKED", SMALL, marks=LONG),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, planted: str, sizes: tuple[str, ...]) -> None:
    assert check(tmp_path, *sizes, planted).wrong.startswith("assertion violated")


@LONG
@pytest.mark.parametrize("planted", ["NO_REAPER", "NO_TOP_UP"])
def test_a_planted_fault_that_leaves_a_job_open_for_ever_is_found(tmp_path: Path, planted: str) -> None:
    sizes = ("WORKERS=2", "ANSWERS=1", "FAULTS=1", "MOVES=0", "BY_WAKE_UPS" if planted == "NO_TOP_UP" else "SCORED=0")
    assert "acceptance cycle" in check(tmp_path, *sizes, planted, every_job_ends=True).wrong
