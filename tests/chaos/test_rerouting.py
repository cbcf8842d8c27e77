"""Rerouting while workers are killed: each prompt with a wrong answer is asked once more, by the other teacher."""

import random
import subprocess

import pytest
from fleet import TIMES, Fleet

FLAGS = ("--scorers", "--router")
CHECKED = {"quality": [{"kind": "math_verify"}]}
# Prompts whose only answer is wrong, and those with a right one that were asked again all the same.
_LEFT = """
SELECT count(*) FROM (
    SELECT d.prompt_id FROM routing_decision d
    JOIN audit.answer a ON a.prompt_id = d.prompt_id AND a.teacher_id = d.teacher_id
    GROUP BY d.prompt_id HAVING (count(*) = 1) = (max(a.quality) FILTER (WHERE d.attempt = 1) = 0)) AS prompt
"""
REROUTED = "SELECT count(*) FROM routing_decision WHERE attempt > 1"


def begin(fleet: Fleet, prompts: int) -> None:
    fleet.configure_stub(sums_right=0.5)
    fleet.load(prompts, calibration=20, scorers=CHECKED, reroute=True)


def finish(fleet: Fleet) -> None:
    fleet.configure_stub(latency_s=0.0)
    fleet.finish()
    fleet.revive_dead()
    fleet.finish()
    assert fleet.scalar(_LEFT) == 0
    assert fleet.scalar(REROUTED) > 0


@pytest.mark.parametrize("times", [2, pytest.param(TIMES, marks=pytest.mark.chaos_long)])
def test_workers_killed_while_prompts_are_rerouted_lose_and_double_nothing(fleet: Fleet, times: int) -> None:
    """Killed anywhere: while they ask, score, or decide."""
    draw = random.Random(7)
    begin(fleet, 100 * times)
    workers = [fleet.start(*FLAGS) for _ in range(2)]
    for _ in range(times):
        fleet.working()
        fleet.fault()
        kill_one(fleet, workers, draw)
    finish(fleet)
    fleet.verdict("kill -9 of a worker while prompts are rerouted")


def kill_one(fleet: Fleet, workers: "list[subprocess.Popen[bytes]]", draw: random.Random) -> None:
    """One of them dies, and another takes its place."""
    place = draw.randrange(len(workers))
    fleet.kill(workers[place])
    workers[place] = fleet.start(*FLAGS)
