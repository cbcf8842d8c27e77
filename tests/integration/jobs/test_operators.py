"""What an operator can see of jobs and do to them."""

from typing import TYPE_CHECKING

import pytest

from persyn import jobs
from persyn.errors import NotFound
from persyn.jobs import operators
from persyn.jobs.operators import Filter
from persyn.states import JobState

if TYPE_CHECKING:
    from tests.integration.conftest import World


@pytest.fixture
def mixed(world: "World") -> "tuple[World, list[int]]":
    """Six jobs: done, dead of two codes, leased, and two ready."""
    ids = world.fill(6)
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        jobs.claim(conn, lease_id, world.queue, 4)
        world.answer(conn, lease_id, ids[:1])
        codes = ("refused", "context_too_long")
        failures = [
            jobs.Failure(job_id, code, f"{code} at {job_id}", True)
            for job_id, code in zip(ids[1:3], codes, strict=True)
        ]
        jobs.fail(conn, lease_id, failures)
    return world, ids


# filter, then the places of the jobs it means
MEANT: list[tuple[Filter, list[int]]] = [
    (Filter(), [0, 1, 2, 3, 4, 5]),
    (Filter(state=JobState.DEAD), [1, 2]),
    (Filter(state=JobState.LEASED), [3]),
    (Filter(error_code="refused"), [1]),
    (Filter(state=JobState.DEAD, error_code="context_too_long"), [2]),
    (Filter(queue="teacher.small", state=JobState.READY), [4, 5]),
    (Filter(queue="another"), []),
    (Filter(run_id=987), []),
]


@pytest.mark.parametrize(("wanted", "places"), MEANT)
def test_a_filter_means_these_jobs(mixed: "tuple[World, list[int]]", wanted: Filter, places: list[int]) -> None:
    world, ids = mixed
    with world.engine.connect() as conn:
        found = operators.list_jobs(conn, wanted, 100)
        assert [row.id for row in found] == [ids[place] for place in places]
        assert sum(operators.count(conn, wanted).values()) == len(places)


def test_a_list_ends_at_its_limit(mixed: "tuple[World, list[int]]") -> None:
    world, ids = mixed
    with world.engine.connect() as conn:
        assert [row.id for row in operators.list_jobs(conn, Filter(), 2)] == ids[:2]


def test_retrying_takes_the_dead_alone(mixed: "tuple[World, list[int]]") -> None:
    world, ids = mixed
    assert operators.retry(world.engine, Filter(error_code="refused")) == 1
    assert operators.retry(world.engine, Filter(ids=ids)) == 1
    assert [world.job(job_id).state for job_id in ids] == ["done", "ready", "ready", "leased", "ready", "ready"]
    assert world.violations() == {}


def test_cancelling_takes_what_waits_or_is_dead_and_leaves_what_a_worker_holds(
    mixed: "tuple[World, list[int]]",
) -> None:
    world, ids = mixed
    assert operators.cancel(world.engine, Filter(state=JobState.READY)) == 2
    assert operators.cancel(world.engine, Filter(run_id=world.run_id)) == 2
    assert [world.job(job_id).state for job_id in ids] == ["done", *["cancelled"] * 2, "leased", *["cancelled"] * 2]
    assert world.violations() == {}


def test_many_jobs_are_changed_in_several_transactions(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_AT_ONCE", 2)
    world.fill(5)
    assert operators.cancel(world.engine, Filter(run_id=world.run_id)) == 5


def test_a_dead_jobs_story_tells_each_attempt_its_worker_and_its_error(mixed: "tuple[World, list[int]]") -> None:
    world, ids = mixed
    with world.engine.connect() as conn:
        story = operators.show(conn, ids[1])
    assert (story.job.state, story.job.error_code, story.teacher) == ("dead", "refused", "small")
    told = [(event.event, event.attempt, event.worker, event.error_code) for event in story.events]
    assert told == [("enqueued", 0, None, None), ("claimed", 1, "w", None), ("died", 1, "w", "refused")]
    assert story.events[-1].detail == f"refused at {ids[1]}"


def test_an_unknown_job_says_so(world: "World") -> None:
    with world.engine.connect() as conn, pytest.raises(NotFound, match="no job 5"):
        operators.show(conn, 5)
