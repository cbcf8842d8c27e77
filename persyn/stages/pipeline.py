"""The order of the stages, and the only module that knows it.

`advance` looks at the tables, adds the work that is possible now, and ends. Any process may call it at any time, twice
at once or not for an hour: each step adds only what is missing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn import jobs, runs
from persyn.errors import ConfigError
from persyn.jobs import operators
from persyn.stages import calibrate, generate, ranges, reroute, route, score, train
from persyn.states import FINAL, JobState, Stage
from persyn.text import one_line

# One look at a time. What reopens the run (a further aim, a retry, an import) comes before the look or after it.
_LOCK = text("SELECT FROM run WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED")
# Of the stage's jobs one that is open, else one that will not be done, else the newest.
_STAGE_JOB = text("""
SELECT j.state, j.error_code, (
    SELECT e.detail FROM job_event e WHERE e.job_id = j.id AND e.event = 'died' ORDER BY e.id DESC LIMIT 1) AS detail
FROM job j
WHERE j.run_id = :run_id AND j.kind = :kind AND j.kind IN ('train_router', 'route', 'reroute')
ORDER BY array_position(ARRAY['leased', 'ready', 'dead', 'cancelled', 'done'], j.state), j.id DESC LIMIT 1
""")

_IS_ROUTED = text("SELECT prompt_count IS NOT NULL FROM run WHERE id = :id")
_COUNT_PROMPTS = text("""
UPDATE run SET prompt_count = (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = run.prompt_set_id) WHERE id = :id
""")
_COUNT_DECIDED = text("""
UPDATE run SET
    decided_count = (SELECT count(*) FROM routing_decision d
                     WHERE d.run_id = run.id AND d.policy = run.policy AND d.attempt = 1)
WHERE id = :id AND decided_count IS NULL
""")

_OF_THE_RUN = frozenset(Stage) - {Stage.TRAIN_STUDENT}  # what a run must have done to be finished
_AROUND_STAGE_JOBS = _OF_THE_RUN - {Stage.TRAIN, Stage.ROUTE, Stage.REROUTE}


class Progress(NamedTuple):
    """The outcome of one look at a run."""

    new_jobs: int
    finished: bool  # every job up to the stage that the run aims at is final; a dead one says why in its row
    blocked: str | None = None  # why it ends before the stage that it aims at


class _Step(NamedTuple):
    """The end of a walk through the stages."""

    new_jobs: int
    blocked: str | None = None


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
        new_jobs, blocked = _take_back(conn, run) if run.cancelled else _advance(conn, run, counts)
        # A stage's job that waits for what blocks the run is not waited for.
        waits_for = _AROUND_STAGE_JOBS if blocked else _OF_THE_RUN
        finished = new_jobs == 0 and not any(count.state not in FINAL and count.stage in waits_for for count in counts)
        runs.note_look(conn, run_id, new_jobs=new_jobs, finished=finished, blocked=blocked)
        return Progress(new_jobs, finished, blocked)


_REOPEN = text("UPDATE run SET finished_at = NULL, prompt_count = NULL, decided_count = NULL WHERE id = :id")


def take_more(conn: Connection, run_id: int) -> int:
    """Route the prompts that came after the run was routed, and go on with them; returns how many they are.

    Raises ConfigError where the policy looks at the whole set at once, or where the run is not routed yet.
    """
    run = runs.load(conn, run_id)
    if run.config.policy in route.WHOLE_SET:
        raise ConfigError(
            f"--more: the policy {run.config.policy} decides on the whole set at once. Start a run under another name;"
            " it reuses all answers."
        )
    routed = _stage_job(conn, run_id, "route")
    if routed is None or routed.state != JobState.DONE:
        raise ConfigError(f"--more: run {run.name} is not routed yet, and takes in every prompt that is there by then.")
    number = ranges.count(conn, run_id)
    if number:
        route.enqueue(conn, run)
        conn.execute(_REOPEN, {"id": run_id})
    return number


def _take_back(conn: Connection, run: runs.Run) -> _Step:
    """A cancelled run adds nothing; a job that its worker handed back is taken back."""
    operators.take_back(conn, run.id)
    return _Step(0)


def _advance(conn: Connection, run: runs.Run, counts: Sequence[jobs.Count]) -> _Step:
    """Each stage in its order; the first that must wait for jobs ends the walk."""
    step = _up_to_router(conn, run, counts) if run.router_run_id == run.id else None
    if step is not None or run.target < Stage.ROUTE:
        return step or _Step(0)
    step = _route(conn, run)
    if step is not None or run.target < Stage.GENERATE:
        return step or _Step(0)
    new = 0
    # The decisions are complete and never change, so once is enough: looking again would read every prompt each time.
    if conn.execute(_COUNT_DECIDED, {"id": run.id}).rowcount:
        runs.take_over(conn, run.id)  # another run may have made them since this one was created
        new += generate.enqueue(conn, run.id) + generate.enqueue_opinions(conn, run.id)
    if run.config.scorers.score == "all":
        new += score.enqueue_routed(conn, run.id)
    return _Step(new) if run.config.rerouting is None else _reroute(conn, run.id, counts, new)


def _up_to_router(conn: Connection, run: runs.Run, counts: Sequence[jobs.Count]) -> _Step | None:
    """The stages that a run with another one's router leaves out; None once all that routing needs is there."""
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
    if run.target >= Stage.SCORE:
        new += score.enqueue_calibration(conn, run.id)
    if new or _open(counts, up_to=Stage.SCORE):
        return _Step(new)
    lacking = _lacking(conn, run, counts)
    if lacking or run.target < Stage.TRAIN:
        return _Step(0, lacking)
    if not run.config.needs_router:
        return None
    step = _whole_stage(conn, run.id, "train_router", train.enqueue)
    if step is None and _learned_too_early(conn, run.id):
        step = _Step(train.enqueue(conn, run.id))
    return step


def _route(conn: Connection, run: runs.Run) -> _Step | None:
    """The step that routing ends the walk with; None once each prompt that was there by its end has its decision."""
    step = _whole_stage(conn, run.id, "route", lambda conn, _: route.enqueue(conn, run))
    if step is not None or conn.execute(_IS_ROUTED, {"id": run.id}).scalar_one():
        return step
    if new := route.enqueue(conn, run):  # prompts that came while the others were routed
        return _Step(new)
    conn.execute(_COUNT_PROMPTS, {"id": run.id})
    return None


def _reroute(conn: Connection, run_id: int, counts: Sequence[jobs.Count], new: int) -> _Step:
    """Another teacher for the prompts whose answers are not good enough, time and again while answers come."""
    new += generate.enqueue_rerouted(conn, run_id)
    job = _stage_job(conn, run_id, "reroute")
    if job is not None and job.state in (JobState.DEAD, JobState.CANCELLED):
        return _Step(new, _ended("reroute", job))
    answering = new > 0 or _open(counts, up_to=Stage.SCORE_ROUTED)
    return _Step(new + reroute.enqueue(conn, run_id, answering=answering))


def _learned_too_early(conn: Connection, run_id: int) -> bool:
    """Whether scores came after the router was trained, as a retry brings them, and nothing is decided by it yet."""
    routed = _stage_job(conn, run_id, "route")
    if (routed is not None and routed.state == JobState.DONE) or train.is_used(conn, run_id):
        return False
    return score.came_later(conn, run_id) > 0 and jobs.close_stage(conn, run_id, "route")


def _lacking(conn: Connection, run: runs.Run, counts: Sequence[jobs.Count]) -> str | None:
    """The reason why the calibration is no ground for the next stage; none where that stage has done its work."""
    following = _stage_job(conn, run.id, "train_router" if run.config.needs_router else "route")
    if following is not None and following.state == JobState.DONE:
        return None
    final = {count.state for count in counts if count.stage <= Stage.SCORE}
    whole = not final & {JobState.DEAD, JobState.CANCELLED}
    return calibrate.shortfall(conn, run.id, run.config.calibration.missing_at_most, whole=whole)


def _stage_job(conn: Connection, run_id: int, kind: str) -> Any:
    return conn.execute(_STAGE_JOB, {"run_id": run_id, "kind": kind}).first()


def _whole_stage(conn: Connection, run_id: int, kind: str, enqueue: Callable[[Connection, int], int]) -> _Step | None:
    """The step that a stage ends the walk with; None once its jobs are done. All that they read is final."""
    job = _stage_job(conn, run_id, kind)
    if job is None:
        return _Step(enqueue(conn, run_id))
    match job.state:
        case JobState.DONE:
            return None
        case JobState.DEAD | JobState.CANCELLED:
            return _Step(0, _ended(kind, job))
    jobs.open_stage(conn, run_id, kind)
    return _Step(0)


def _ended(kind: str, job: Any) -> str:
    """Why nothing comes of a stage's job that is dead or cancelled."""
    why = f"dead: {job.error_code}: {one_line(job.detail or '')}" if job.state == JobState.DEAD else "cancelled"
    return f"the job {kind.replace('_', ' ')!r} is {why}"


def _open(counts: Sequence[jobs.Count], *, up_to: Stage) -> bool:
    return any(count.state not in FINAL and count.stage <= up_to for count in counts)
