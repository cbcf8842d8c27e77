"""Those who hand out the work: two at once, and one that is killed in the midst of enqueueing."""

import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fleet import DONE, OPEN_JOBS, Fleet
from proxy import ENQUEUE
from sqlalchemy import text

from persyn import jobs, pipeline, runs
from persyn.states import Stage

LONG = pytest.mark.chaos_long
PROMPTS = 200
READER_S = float(os.environ.get("PERSYN_CHAOS_READER_S", "60"))
READER_PROMPTS = int(5 * READER_S * 1100)  # more than a worker does meanwhile
ADVANCE = (
    "import os, sys; from persyn import pipeline; from persyn.db import session;"
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
@pytest.mark.timeout(1200)
def test_a_reader_that_holds_its_snapshot_for_minutes_slows_the_queue_little(fleet: Fleet) -> None:
    """A ratio for the table: with the reader and without it in turns, in one run.

    Vacuum can remove nothing while the reader reads, nor may a claim pass over the index entries of jobs that were
    taken since. The teachers answer at once, so that nothing but the queue and the worker is measured.
    """
    fleet.configure_stub(latency_s=0.0)
    fleet.load(READER_PROMPTS, in_flight=64)
    fleet.ready(fleet.start())
    fleet.working()
    with_reader, without = [], []
    for _ in range(2):
        without.append(jobs_per_s(fleet))
        fleet.fault()
        with fleet.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
            reader.execute(text("SELECT count(*) FROM job"))
            with_reader.append(jobs_per_s(fleet))
        fleet.mended()
    without.append(jobs_per_s(fleet))
    assert fleet.scalar(OPEN_JOBS) > 0, "the work ended before it was measured: READER_PROMPTS is too small"
    fleet.finish(600)
    ratio = statistics.mean(with_reader) / statistics.mean(without)
    fleet.verdict(
        f"a reader holds its snapshot for {READER_S:.0f} s",
        note=f"throughput beside it / without {ratio:.2f} ({statistics.mean(without):.0f} jobs/s without)",
    )


def jobs_per_s(fleet: Fleet) -> float:
    """How many jobs are done in a second, over READER_S."""
    done, began = fleet.scalar(DONE), time.monotonic()
    threading.Event().wait(READER_S)
    return (fleet.scalar(DONE) - done) / (time.monotonic() - began)
