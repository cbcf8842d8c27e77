"""The order of the stages, and the only module that knows it.

`advance` looks at the tables, adds the work that is possible now, and ends. Any process may call it at any time, twice
at once or not for an hour: each step adds only what is missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn import jobs, runs
from persyn.stages import calibrate, generate, route, score, train
from persyn.states import FINAL, Stage

# One look at a time. What reopens the run (a further aim, a retry, an import) comes before the look or after it.
_LOCK = text("SELECT FROM run WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED")
_STAGE_DONE = text("""
SELECT state FROM job WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route')
""")

_COUNT_DECIDED = text("""
UPDATE run SET
    prompt_count = (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = run.prompt_set_id),
    decided_count = (SELECT count(*) FROM routing_decision d WHERE d.run_id = run.id AND d.policy = run.policy)
WHERE id = :id AND decided_count IS NULL
""")


class Progress(NamedTuple):
    """The outcome of one look at a run."""

    new_jobs: int
    finished: bool  # every job up to the stage that the run aims at is final; a dead one says why in its row


def advance(engine: Engine, run_id: int) -> Progress:
    """Take the run as far as it can go now, up to the stage that it aims at."""
    with engine.begin() as conn:
        jobs.limit_idling(conn)
        if conn.execute(_LOCK, {"id": run_id}).first() is None:
            return Progress(0, False)
        run = runs.load(conn, run_id)
        # Counted before anything else is looked at: workers finish jobs meanwhile, and what a job finished after the
        # look makes possible (a score to enqueue, a route to follow) must be looked for again before going on.
        counts = jobs.counts(conn, run_id)
        new_jobs = _advance(conn, run, counts)
        finished = new_jobs == 0 and not _open(counts)
        if finished and not run.finished:
            conn.execute(text("UPDATE run SET finished_at = clock_timestamp() WHERE id = :id"), {"id": run_id})
        return Progress(new_jobs, finished)


def _advance(conn: Connection, run: runs.Run, counts: Sequence[jobs.Count]) -> int:
    """Each stage in its order; the first that must wait for jobs ends the walk."""
    new = 0
    settings = run.config.calibration
    calibrate.select(
        conn,
        run.id,
        prompt_set_id=run.prompt_set_id,
        size=settings.size,
        validation=settings.validation,
        seed=run.config.seed,
    )
    new += calibrate.enqueue(conn, run.id)
    if run.target < Stage.SCORE:
        return new
    new += score.enqueue_calibration(conn, run.id)
    if run.target < Stage.TRAIN or new or _open(counts, up_to=Stage.SCORE):
        return new
    if run.config.needs_router:
        new += train.enqueue(conn, run.id)
        if run.target < Stage.ROUTE or train.find(conn, run.id) is None:
            return new
    elif run.target < Stage.ROUTE:
        return new
    new += route.enqueue(conn, run.id)
    if run.target < Stage.GENERATE or not _done(conn, run.id, "route"):
        return new
    conn.execute(_COUNT_DECIDED, {"id": run.id})
    # The decisions are complete and never change, so once is enough: looking again would read every prompt each time.
    if not any(count.stage == Stage.GENERATE for count in counts):
        new += generate.enqueue(conn, run.id)
    if run.config.scorers.score == "all":
        new += score.enqueue_routed(conn, run.id)
    return new


def _open(counts: Sequence[jobs.Count], *, up_to: Stage = Stage.SCORE_ROUTED) -> int:
    return sum(count.jobs for count in counts if count.state not in FINAL and count.stage <= up_to)


def _done(conn: Connection, run_id: int, kind: str) -> bool:
    return conn.execute(_STAGE_DONE, {"run_id": run_id, "kind": kind}).scalar() == "done"
