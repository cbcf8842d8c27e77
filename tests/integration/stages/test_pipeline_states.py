"""A run's state tells the truth: a stage ends when enough is done, and a dead one ends the run as failed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import reporting, runs
from persyn.cli import terminal
from persyn.errors import ConfigError
from persyn.jobs import operators
from persyn.jobs.operators import Filter
from persyn.reporting import STAGE_NAMES
from persyn.stages import pipeline, train
from persyn.stages.artifacts import ROUTER, Kept
from persyn.states import JobState, Stage

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

Build = Callable[..., Any]


def test_a_run_that_is_done_is_finished(small_run: "SmallRun") -> None:
    assert small_run.state() == ("in progress", "the next look at it adds its next jobs")
    small_run.advance()
    assert small_run.state() == ("waiting", "no worker holds one of its 8 open jobs")
    small_run.work()
    assert small_run.state() == ("finished", "nothing is left to do")
    assert small_run.violations() == {}


def test_a_teacher_that_refuses_everything_ends_the_run_before_more_is_paid_for(small_run: "SmallRun") -> None:
    small_run.advance()
    small_run.answer("b")
    assert small_run.kill("teacher.a", "bad_request", permanent=True) == 4
    small_run.advance()
    small_run.score()
    progress = small_run.advance()
    told = "the teacher a gave no usable answer to 4 calibration prompts (bad_request)"
    assert progress == pipeline.Progress(0, True, told)
    assert small_run.state() == ("failed", told)
    assert small_run.rows("SELECT FROM job WHERE kind = 'route'") == []


@pytest.mark.parametrize(
    ("code", "permanent", "blocks"),
    [
        ("connection", False, True),  # an outage of something outside, written on the jobs' account
        ("context_too_long", True, False),  # this prompt will never have this answer
    ],
)
def test_what_may_pass_must_be_there_and_what_cannot_be_is_not_waited_for(
    small_run: "SmallRun", code: str, permanent: bool, blocks: bool
) -> None:
    small_run.advance()
    small_run.kill("teacher.a", code, permanent=permanent, limit=1)
    small_run.answer("a")
    small_run.answer("b")
    small_run.advance()
    small_run.score()
    progress = small_run.advance()
    if blocks:
        told = "2 of 16 calibration scores are missing (1 answers connection), more than the 2%"
        assert progress.blocked is not None
        assert progress.blocked.startswith(told)
    assert small_run.state()[0] == ("failed" if blocks else "waiting")


def test_patience_may_be_changed_in_a_run_that_failed_by_it(build_run: Build) -> None:
    run = build_run()
    run.advance()
    run.kill("teacher.a", "connection", limit=1)
    run.answer("a")
    run.answer("b")
    run.advance()
    run.score()
    assert run.advance().blocked
    calibration = run.config.calibration.model_copy(update={"missing_at_most": 0.2})
    assert run.create(run.config.model_copy(update={"calibration": calibration})) == run.id
    assert run.advance().blocked is None
    run.work()
    assert run.state()[0] == "finished"


def test_a_cancelled_part_of_the_calibration_is_not_taken_for_done(small_run: "SmallRun") -> None:
    small_run.advance()
    operators.cancel(small_run.engine, Filter(queue="teacher.a"))
    small_run.answer("b")
    small_run.advance()
    small_run.score()
    assert small_run.advance().blocked
    assert small_run.state()[0] == "failed"


def test_a_retry_lets_a_failed_run_go_on(small_run: "SmallRun") -> None:
    small_run.advance()
    small_run.kill("teacher.a", "connection")
    small_run.answer("b")
    small_run.advance()
    small_run.score()
    assert small_run.advance().blocked
    assert operators.retry(small_run.engine, Filter(run_id=small_run.id)) == 4
    assert small_run.state()[0] == "waiting"
    small_run.work()
    assert small_run.state() == ("finished", "nothing is left to do")
    assert small_run.violations() == {}


def dead_router(build_run: Build) -> Any:
    """A run whose scores of `a` died of an outage, and whose router died of that."""
    run = build_run(policy="persyn", calibration={"size": 4, "missing_at_most": 0.6})
    run.advance()
    run.answer("a")
    run.answer("b")
    run.advance()
    run.kill("score.learnability", "connection")
    run.score()
    run.advance()
    run.kill("router", "no_preferences", permanent=True)
    return run


def train_by_hand(run: Any, artifact: str) -> None:
    with run.engine.begin() as conn:
        lease_id, (claim,) = run.claim(conn, "router")
        assert claim.kind == "train_router"
        teachers = runs.load(conn, run.id).teacher_ids
        train.store(
            conn, lease_id, claim.id, run.id, run.config, teacher_ids=teachers,
            kept=Kept(ROUTER, "host", artifact, "0" * 64, Path(artifact)), metrics={},
        )  # fmt: skip


def scored_but_for_one(build_run: Build) -> Any:
    """A run whose router was trained while one score was dead, which is alive again by now."""
    run = build_run(policy="persyn", calibration={"size": 4, "missing_at_most": 0.6})
    run.advance()
    run.answer("a")
    run.answer("b")
    run.advance()
    run.kill("score.quality", "connection", limit=1)
    run.score()
    run.advance()
    train_by_hand(run, "first")
    return run


def late_scores(run: Any) -> int:
    with run.engine.connect() as conn:
        return reporting.summary(conn, run.id).late_scores


def test_a_router_learns_anew_where_a_retry_brought_scores_before_it_was_asked(build_run: Build) -> None:
    run = scored_but_for_one(build_run)
    run.advance()  # the route job is there, and nobody has taken it
    assert operators.retry(run.engine, Filter(run_id=run.id)) == 1
    run.score()
    run.advance()
    assert late_scores(run) == 1
    train_by_hand(run, "second")
    assert run.rows("SELECT artifact_path FROM router") == [("second",)]
    run.advance()
    run.route()
    run.work()
    assert (run.state()[0], late_scores(run)) == ("finished", 0)
    assert len(run.rows("SELECT FROM job WHERE kind = 'train_router'")) == 2
    assert run.violations() == {}


def test_a_router_that_has_decided_stays_and_what_it_missed_is_told(build_run: Build) -> None:
    run = scored_but_for_one(build_run)
    run.advance()
    run.route()
    with run.engine.begin() as conn:  # one of its decisions
        conn.execute(text("UPDATE routing_decision SET basis = 'router', router_id = (SELECT id FROM router)"))
    run.work()
    operators.retry(run.engine, Filter(run_id=run.id))
    run.work()
    assert (run.state()[0], late_scores(run)) == ("finished", 1)
    assert "1 calibration score came after the router was trained" in terminal.late_scores_line(1)


def test_a_lost_router_is_trained_again_and_what_was_decided_stays(build_run: Build) -> None:
    run = scored_but_for_one(build_run)
    run.advance()
    with run.engine.begin() as conn:
        train.again(conn, run.id)
        assert [claim.kind for claim in run.claim(conn, "router")[1]] == ["train_router"], "routing waits for it"
        conn.rollback()
    with run.engine.begin() as conn:
        train.again(conn, run.id)
    train_by_hand(run, "second")
    run.advance()
    run.route()
    run.work()
    decided = run.rows("SELECT prompt_id, created_at FROM routing_decision ORDER BY 1")
    with run.engine.begin() as conn:
        train.again(conn, run.id)
    assert run.state()[0] == "waiting"
    train_by_hand(run, "third")
    run.work()
    assert run.state()[0] == "finished"
    assert run.rows("SELECT prompt_id, created_at FROM routing_decision ORDER BY 1") == decided
    assert run.violations() == {}


def test_a_run_without_a_router_cannot_train_it_again(small_run: "SmallRun") -> None:
    with small_run.engine.begin() as conn, pytest.raises(ConfigError, match="no router yet"):
        train.again(conn, small_run.id)


def test_a_dead_router_is_a_failure_and_never_finished(build_run: Build) -> None:
    run = dead_router(build_run)
    run.advance()
    assert run.state() == ("failed", "the job 'train router' is dead: no_preferences: it says no")


def test_a_stage_that_is_retried_waits_for_what_it_reads(build_run: Build) -> None:
    run = dead_router(build_run)
    run.advance()
    assert operators.retry(run.engine, Filter(run_id=run.id)) == 9
    run.advance()
    with run.engine.begin() as conn:
        assert run.claim(conn, "router")[1] == []
    run.score()
    run.advance()
    with run.engine.begin() as conn:
        assert [claim.kind for claim in run.claim(conn, "router")[1]] == ["train_router"]


@pytest.mark.parametrize("began", [False, True])
def test_a_stage_that_is_open_waits_for_an_earlier_job_that_is_retried(build_run: Build, began: bool) -> None:
    """Its job was due when the retry came, or was a worker's that gave it back; the model of the protocol found it."""
    run = build_run(policy="persyn", calibration={"size": 4, "missing_at_most": 0.6})
    run.advance()
    run.answer("a")
    run.answer("b")
    run.advance()
    run.kill("score.learnability", "connection", limit=1)
    run.score()
    run.advance()
    lease_id = None
    if began:
        with run.engine.begin() as conn:
            lease_id, claims = run.claim(conn, "router")
            assert len(claims) == 1
    assert operators.retry(run.engine, Filter(run_id=run.id)) == 1
    if lease_id is not None:
        with run.engine.begin() as conn:
            pipeline.jobs.close(conn, lease_id, "the worker leaves")
    run.advance()
    with run.engine.begin() as conn:
        assert run.claim(conn, "router")[1] == []
    run.score()
    run.advance()
    with run.engine.begin() as conn:
        assert [claim.kind for claim in run.claim(conn, "router")[1]] == ["train_router"]


def test_a_cancelled_run_adds_nothing_and_ends_when_its_workers_have_let_go(small_run: "SmallRun") -> None:
    small_run.advance()
    with small_run.engine.begin() as conn:
        lease_id, claims = small_run.claim(conn, "teacher.a", 2)
    assert runs.cancel(small_run.engine, small_run.id, by="ann@desk") == 6
    assert small_run.advance() == pipeline.Progress(0, False)
    with small_run.engine.begin() as conn:
        pipeline.jobs.close(conn, lease_id, "the worker leaves")
    small_run.advance()
    assert small_run.advance() == pipeline.Progress(0, True)
    state, reason = small_run.state()
    assert (state, reason[:26]) == ("cancelled", "ann@desk cancelled it at 2")
    assert small_run.rows("SELECT DISTINCT state FROM job") == [("cancelled",)]
    assert len(claims) == 2
    assert small_run.violations() == {}


def test_a_cancelled_run_that_is_resumed_comes_to_its_end(small_run: "SmallRun") -> None:
    small_run.advance()
    small_run.answer("a")
    runs.cancel(small_run.engine, small_run.id, by="ann@desk")
    assert runs.resume(small_run.engine, small_run.id) == 4
    small_run.work()
    assert small_run.state()[0] == "finished"
    assert small_run.violations() == {}


def test_a_run_that_stops_early_says_after_which_stage(small_run: "SmallRun") -> None:
    for stage in (Stage.CALIBRATE, Stage.SCORE, Stage.TRAIN, Stage.ROUTE):
        with small_run.engine.begin() as conn:
            conn.execute(
                text("UPDATE run SET target_stage = :stage, finished_at = clock_timestamp()"), {"stage": int(stage)}
            )
        assert small_run.state() == (f"stopped after {STAGE_NAMES[stage]}", "nobody asked for more")


def test_prompts_that_came_later_are_left_alone_until_they_are_asked_for(small_run: "SmallRun") -> None:
    small_run.work()
    small_run.import_prompts(100, 3)
    assert small_run.advance() == pipeline.Progress(0, True)
    with small_run.engine.begin() as conn:
        assert pipeline.take_more(conn, small_run.id) == 3
    small_run.work()
    assert small_run.rows("SELECT count(*) FROM routing_decision") == [(11,)]
    assert small_run.rows("SELECT prompt_count, decided_count FROM run") == [(11, 11)]
    assert small_run.rows("SELECT count(*) FROM job WHERE kind = 'route' AND state = 'done'") == [(2,)]
    with small_run.engine.begin() as conn:
        assert pipeline.take_more(conn, small_run.id) == 0
    assert small_run.advance() == pipeline.Progress(0, True)
    assert small_run.violations() == {}


def test_a_policy_of_the_whole_set_takes_in_no_more(build_run: Build) -> None:
    run = build_run(policy="oracle", calibration={"size": 8})
    with run.engine.begin() as conn, pytest.raises(ConfigError, match="--more: the policy oracle"):
        pipeline.take_more(conn, run.id)


def test_a_run_that_is_not_routed_yet_needs_no_more(small_run: "SmallRun") -> None:
    small_run.advance()
    with small_run.engine.begin() as conn, pytest.raises(ConfigError, match="not routed yet"):
        pipeline.take_more(conn, small_run.id)
    assert JobState.READY in {row.state for row in small_run.rows("SELECT state FROM job")}
