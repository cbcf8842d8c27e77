"""`persyn rewards sweep`: the table fits a terminal whatever the size of the pool."""

import io

import numpy as np
import pytest
from rich.console import Console

from persyn.cli.rewards import _table
from persyn.reporting import AlphaSweep
from persyn.rewards.sweep import sweep


@pytest.mark.parametrize("pool", [2, 6, 7, 20])
def test_every_teacher_and_every_alpha_is_in_the_table(pool: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 30, pool))
    teachers = [f"t{number}[x]" for number in range(pool)]
    result = sweep(scores[0], scores[1], [0.0, 0.25, 1.0], "minmax")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_table(AlphaSweep("run", 0.4, "minmax", teachers, result)))
    shown = console.export_text()
    for expected in (*teachers, "0.25", "learnability", "30 calibration prompts"):
        assert expected in shown


def test_long_names_of_a_wide_pool_leave_room_for_every_number() -> None:
    scores = np.random.default_rng(0).normal(-2, 0.1, size=(2, 30, 12))
    alphas = [step / 10 for step in range(11)]
    result = sweep(scores[0], scores[1], alphas, "minmax")
    console = Console(width=80, record=True, file=io.StringIO())
    teachers = [f"teacher-{place}-of-a-long-name" for place in range(12)]
    console.print(_table(AlphaSweep("run", 0.4, "minmax", teachers, result)))
    shown = console.export_text()
    assert "…" not in shown
    learnability = next(line for line in shown.splitlines() if "learnability" in line)
    assert learnability.split()[1:] == [f"{point.learnability:.2f}" for point in result.points]
