"""Those who hand out the work: two at once, and one that is killed in the midst of enqueueing."""

import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fleet import Fleet
from proxy import ENQUEUE
from sqlalchemy import text

from persyn import jobs, runs
from persyn.stages import pipeline
from persyn.states import Stage

LONG = pytest.mark.chaos_long
PROMPTS = 200
READER_JOBS = int(os.environ.get("PERSYN_CHAOS_READER_JOBS", "6000"))
COUNTED = "SELECT sum(jobs)::bigint FROM job_count WHERE state = 'done'"  # without looking at the jobs
READERS = 2  # how many hold their snapshots, one after the other
ADVANCE = (
    "import os, sys; from persyn.db import session; from persyn.stages import pipeline;"
    "pipeline.advance(session.connect(os.environ['PERSYN_DATABASE_URL']), int(sys.argv[1]))"
)
JOBS = "SELECT count(*) FROM job WHERE kind = 'generate'"


def prepare(fleet: Fleet) -> None:
    """A run whose whole set is its calibration set, so that the pipeline itself has all of it to enqueue."""
    fleet.load(PROMPTS, calibration=PROMPTS, enqueue=False)
    with fleet.engine.begin() as conn:
        runs.aim(conn, fleet.run_id, Stage.CALIBRATE)


def dispatcher(fleet: Fleet) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", ADVANCE, str(fleet.run_id)]
    process = subprocess.Popen(command, env=fleet.environment)
    fleet.processes.append(process)
    return process


@LONG
def test_two_dispatchers_and_two_reapers_at_once_do_nothing_twice(fleet: Fleet) -> None:
    prepare(fleet)
    fleet.fault()
    ended = threading.Event()

    def dispatch() -> None:
        while not ended.wait(0.02):
            pipeline.advance(fleet.engine, fleet.run_id)

    def reap() -> None:
        while not ended.wait(0.02):
            with fleet.engine.begin() as conn:
                jobs.reap(conn)

    with ThreadPoolExecutor() as threads:
        busy = [threads.submit(act) for act in (dispatch, dispatch, reap, reap)]
        workers = [fleet.start(), fleet.start()]
        try:
            for worker in workers:
                fleet.working()
                fleet.fault()
                fleet.kill(worker)
            fleet.start()
            fleet.finish()
        finally:
            ended.set()
        for each in busy:
            each.result()
    assert fleet.scalar(JOBS) == 2 * PROMPTS
    fleet.verdict("two dispatchers and two reapers at once, two workers killed", workers=2)


@LONG
@pytest.mark.parametrize(("action", "left"), [("hold", 0), ("hold_reply", 2 * PROMPTS)])
def test_a_dispatcher_killed_in_mid_enqueue_leaves_all_or_nothing(fleet: Fleet, action: str, left: int) -> None:
    prepare(fleet)
    trap = fleet.postgres.trap(ENQUEUE, action)  # type: ignore[arg-type]
    process = dispatcher(fleet)
    fleet.eventually(trap.sprung.is_set)
    fleet.fault()
    fleet.kill(process)
    assert fleet.scalar(JOBS) == left
    fleet.start()
    fleet.finish()
    assert fleet.scalar(JOBS) == 2 * PROMPTS
    when = "before" if action == "hold" else "after"
    assert fleet.verdict(f"dispatcher killed {when} the commit of its enqueueing").again == 0


@LONG
@pytest.mark.timeout(1500)
def test_a_reader_that_holds_its_snapshot_for_minutes_slows_the_queue_little(fleet: Fleet) -> None:
    """A ratio for the table: so many jobs without the reader, as many beside it, and so on in turns.

    Vacuum can remove nothing while the reader reads, nor may a claim forget the index entries of jobs that were taken
    since; so what counts is how many jobs the reader sees done. The teachers answer at once, and nothing but the queue
    and the worker is measured.
    """
    fleet.configure_stub(latency_s=0.0)
    fleet.load(READER_JOBS * (2 * READERS + 2), in_flight=64)
    fleet.ready(fleet.start())
    fleet.working()
    beside, without = [], [jobs_per_s(fleet)]
    for _ in range(READERS):
        fleet.fault()
        with fleet.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
            reader.execute(text("SELECT count(*) FROM job"))
            beside.append(jobs_per_s(fleet))
        fleet.mended()
        without.append(jobs_per_s(fleet))
    fleet.finish(600)
    mean_beside, mean_without = statistics.mean(beside), statistics.mean(without)
    fleet.verdict(
        f"a reader holds its snapshot while {READER_JOBS:,} jobs are done",
        note=f"throughput beside it / without {mean_beside / mean_without:.2f} ({mean_without:.0f} jobs/s without)",
    )


def jobs_per_s(fleet: Fleet) -> float:
    """How many jobs are done in a second, over the next READER_JOBS of them."""
    done, began = fleet.scalar(COUNTED), time.monotonic()
    while (now := fleet.scalar(COUNTED)) < done + READER_JOBS:
        time.sleep(0.2)
    return (now - done) / (time.monotonic() - began)
