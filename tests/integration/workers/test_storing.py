"""A batch that the database refuses: the rows to blame fail, the others are stored."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from persyn import jobs
from persyn.errors import LeaseLost
from persyn.stages import generate
from persyn.workers import storing
from persyn.workers.storing import store_each

if TYPE_CHECKING:
    from tests.integration.conftest import World


def answers(world: "World", count: int) -> tuple[int, list[generate.NewGeneration]]:
    """A lease, and an answer to each of the jobs that it holds."""
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:count])
        lease_id = world.lease(conn)
        claims = jobs.claim(conn, lease_id, world.queue, count)
    requests = [generate.GenerationRequest(claim, [], 0) for claim in claims]
    return lease_id, [generate.NewGeneration(each, "42", None, "stop", 3, 4, 0.1, None) for each in requests]


def job_of(generation: generate.NewGeneration) -> int:
    return generation.request.claim.id


@pytest.mark.parametrize(
    "spoilt",
    [{"completion_tokens": 3_000_000_000}, {"text": "nul \0"}, {"text": "half \ud800"}, {"latency_s": float("nan")}],
    ids=str,
)
def test_one_answer_that_cannot_be_stored_costs_its_own_job_an_attempt_and_the_others_nothing(
    world: "World", spoilt: dict[str, object]
) -> None:
    lease_id, batch = answers(world, 6)
    batch[4] = batch[4]._replace(**spoilt)
    with world.engine.begin() as conn:
        refused = store_each(conn, lease_id, batch, generate.store, job_of)
        jobs.fail(conn, lease_id, refused)
    [failure] = refused
    assert (failure.job_id, failure.code, failure.permanent) == (job_of(batch[4]), "not_storable", False)
    assert world.scalar("SELECT count(*) FROM generation") == 5
    assert (world.job(failure.job_id).state, world.job(failure.job_id).attempt) == ("ready", 1)
    detail = world.scalar("SELECT detail FROM job_event WHERE error_code = 'not_storable'")
    assert "INSERT" not in detail
    assert "42" not in detail
    assert world.violations() == {}


def test_a_batch_of_good_answers_is_stored_at_once(world: "World") -> None:
    lease_id, batch = answers(world, 6)
    with world.engine.begin() as conn:
        assert store_each(conn, lease_id, batch, generate.store, job_of) == []
        assert store_each(conn, lease_id, [], generate.store, job_of) == []
    assert world.scalar("SELECT count(DISTINCT created_at::date) FROM generation") == 1
    assert world.scalar("SELECT count(*) FROM job WHERE state = 'done'") == 6


def test_no_statement_carries_more_bytes_than_its_limit_unless_one_answer_alone_does(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "STATEMENT_BYTES", 100)
    lease_id, batch = answers(world, 6)
    long = [batch[0]._replace(text="é" * 200), *(each._replace(text="42" * 20) for each in batch[1:])]
    assert max(each.size for each in long[1:]) < 50
    sent: list[int] = []
    event.listen(world.engine, "before_cursor_execute", lambda *call: sent.append(bytes_of(call[3])))
    with world.engine.begin() as conn:
        assert store_each(conn, lease_id, long, generate.store, job_of, lambda one: one.size) == []
    assert world.scalar("SELECT count(*) FROM generation") == 6
    assert len([size for size in sent if size]) == 4  # 1 alone, 2, 1 and 2
    assert world.violations() == {}


def bytes_of(parameters: dict[str, object]) -> int:
    return len(str(parameters.get("answers", "")).encode())


def test_a_lease_that_was_revoked_is_no_answers_fault(world: "World") -> None:
    lease_id, batch = answers(world, 2)
    world.revoke(lease_id)
    with world.engine.begin() as conn, pytest.raises(LeaseLost):
        store_each(conn, lease_id, batch, generate.store, job_of)
    assert world.scalar("SELECT count(*) FROM generation") == 0


def test_an_error_that_nobody_foresaw_costs_what_was_held_an_attempt_and_is_told_without_the_text(
    world: "World",
) -> None:
    from persyn.jobs.lease_keeper import LeaseKeeper
    from persyn.workers import blame

    world.fill(2)
    keeper = LeaseKeeper(world.engine, worker="w", host="h", queue=world.queue, charge=blame.charged)
    with pytest.raises(Exception, match="out of range"), keeper:  # noqa: PT012 - the lease ends by the error
        with world.engine.begin() as conn:
            jobs.claim(conn, keeper.id, world.queue, 2)
        with world.engine.begin() as conn:
            conn.execute(
                text("SELECT CAST(:big AS bigint)::int, CAST(:words AS text)"), {"big": 2**40, "words": "secret"}
            )
    rows = "SELECT string_agg(DISTINCT error_code || state || attempt, ',') FROM job"
    assert world.scalar(rows) == "internal_errorready1"
    assert "secret" not in world.scalar("SELECT string_agg(detail, '') FROM job_event")
