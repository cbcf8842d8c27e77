"""A run goes on once all ranges of its prompts are routed: those that came meanwhile too, and none that died."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import jobs, runs
from persyn.errors import ConfigError
from persyn.jobs import operators
from persyn.jobs.operators import Filter
from persyn.stages import pipeline, ranges, train
from persyn.states import Stage
from tests.integration.stages.test_pipeline_states import train_by_hand

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

Build = Callable[..., Any]
STATES = "SELECT state, count(*) FROM job WHERE kind = 'route' GROUP BY 1 ORDER BY 1"


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PROMPTS", 3)


def up_to_routing(run: "SmallRun") -> "SmallRun":
    run.calibrate()
    return run


def test_a_run_goes_on_once_all_its_ranges_are_done(small_run: "SmallRun") -> None:
    up_to_routing(small_run)
    assert small_run.rows(STATES) == [("ready", 3)]
    assert small_run.route(limit=2) == 2
    assert small_run.advance() == pipeline.Progress(0, False)
    assert small_run.route() == 1
    assert small_run.advance().new_jobs > 0
    small_run.work()
    assert small_run.state() == ("finished", "nothing is left to do")
    assert small_run.rows("SELECT prompt_count, decided_count FROM run") == [(8, 8)]
    assert small_run.violations() == {}


def test_prompts_that_come_while_others_are_routed_are_routed_too(small_run: "SmallRun") -> None:
    up_to_routing(small_run)
    small_run.route(limit=1)
    small_run.import_prompts(100, 4)
    small_run.route()
    assert small_run.advance().new_jobs == 2
    small_run.work()
    assert small_run.rows("SELECT count(*), count(DISTINCT prompt_id) FROM routing_decision") == [(12, 12)]
    assert small_run.state()[0] == "finished"
    assert small_run.violations() == {}


def test_prompts_that_come_after_a_run_stopped_at_its_routing_wait_until_they_are_asked_for(build_run: Build) -> None:
    run = build_run()
    with run.engine.begin() as conn:
        conn.execute(text("UPDATE run SET target_stage = :stage"), {"stage": int(Stage.ROUTE)})
    up_to_routing(run).route()
    assert run.advance().finished
    run.import_prompts(100, 4)
    with run.engine.begin() as conn:
        runs.aim(conn, run.id, Stage.GENERATE)
    run.work()
    assert run.rows("SELECT count(*) FROM routing_decision") == [(8,)]
    with run.engine.begin() as conn:
        assert pipeline.take_more(conn, run.id) == 4
    run.work()
    assert run.rows("SELECT count(*) FROM routing_decision") == [(12,)]
    assert run.rows("SELECT prompt_count, decided_count FROM run") == [(12, 12)]
    assert run.violations() == {}


@pytest.mark.parametrize("how", ["dead", "cancelled"])
def test_a_range_that_ends_without_its_decisions_ends_the_run_after_its_neighbours_are_done(
    small_run: "SmallRun", how: str
) -> None:
    up_to_routing(small_run)
    (first, *_) = small_run.rows("SELECT id FROM job WHERE kind = 'route' ORDER BY id")[0]
    if how == "dead":
        assert small_run.kill("router", "negative_quality", permanent=True, limit=1) == 1
    else:
        assert operators.cancel(small_run.engine, Filter(ids=[first])) == 1
    assert small_run.advance() == pipeline.Progress(0, False), "the neighbours go on"
    assert small_run.route() == 2
    told = "the job 'route' is " + ("dead: negative_quality: it says no" if how == "dead" else "cancelled")
    assert small_run.advance() == pipeline.Progress(0, True, told)
    assert small_run.state() == ("failed", told)
    with small_run.engine.begin() as conn:
        assert jobs.revive(conn, [first]) == 1
    small_run.advance()
    assert small_run.route() == 1
    small_run.work()
    assert small_run.state()[0] == "finished"
    assert small_run.rows("SELECT count(*) FROM routing_decision") == [(8,)]
    assert small_run.violations() == {}


def test_a_run_cancelled_while_it_is_routed_goes_on_with_the_ranges_that_are_left(small_run: "SmallRun") -> None:
    up_to_routing(small_run).route(limit=1)
    assert runs.cancel(small_run.engine, small_run.id, by="ann@desk") == 2
    assert small_run.advance().finished
    assert runs.resume(small_run.engine, small_run.id) == 2
    small_run.work()
    assert small_run.state()[0] == "finished"
    assert small_run.rows(STATES) == [("done", 3)]
    assert small_run.violations() == {}


def test_a_router_is_not_trained_anew_while_one_range_is_being_routed_and_the_others_stay_open(
    build_run: Build,
) -> None:
    run = up_to_routing(build_run(policy="persyn"))
    train_by_hand(run, "first")
    run.advance()
    with run.engine.begin() as conn:
        lease_id, claims = run.claim(conn, "router", 1)
        assert len(claims) == 1
        with pytest.raises(ConfigError, match="a worker routes with this router now"):
            train.again(conn, run.id)
        assert run.claim(conn, "router")[1] != []
        conn.rollback()
    with run.engine.begin() as conn:
        train.again(conn, run.id)
        assert [claim.kind for claim in run.claim(conn, "router")[1]] == ["train_router"], "all ranges wait for it"
    assert lease_id > 0


def test_a_set_without_an_undecided_prompt_counts_as_routed_all_the_same(build_run: Build) -> None:
    run = build_run(calibration={"size": 8})
    with run.engine.begin() as conn:  # as where all others were deleted
        conn.execute(text('UPDATE run SET config = config || \'{"calibration_answers": "exclude"}\''))
    up_to_routing(run)
    assert run.rows("SELECT first_prompt_id, last_prompt_id FROM job WHERE kind = 'route'") == [(None, None)]
    with run.engine.begin() as conn:
        lease_id, claims = run.claim(conn, "router")
        jobs.complete(conn, lease_id, [claim.id for claim in claims])
    run.work()
    with run.engine.begin() as conn:
        assert pipeline.take_more(conn, run.id) == 0
    assert run.state()[0] == "finished"


def test_a_list_of_jobs_names_the_range(small_run: "SmallRun") -> None:
    up_to_routing(small_run)
    ends = small_run.rows("SELECT first_prompt_id || '-' || last_prompt_id FROM job WHERE kind = 'route' ORDER BY id")
    with small_run.engine.connect() as conn:
        listed = operators.list_jobs(conn, Filter(queue="router"), 10)
    assert [job.prompt for job in listed] == [end for (end,) in ends]
