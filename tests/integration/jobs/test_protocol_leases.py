"""What a lease protects: fencing, reaping and handing back, in a real Postgres."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from persyn import jobs
from persyn.errors import LeaseLost
from persyn.jobs import Failure, protocol
from persyn.states import JobEvent, JobState

if TYPE_CHECKING:
    from tests.integration.conftest import World


def transient(job_id: int, retry_after_s: float | None = None) -> Failure:
    return Failure(job_id, "timeout", "too slow", permanent=False, retry_after_s=retry_after_s)


# Fencing: a revoked lease writes nothing


def everything(world: "World") -> list[Any]:
    with world.engine.connect() as conn:
        return [
            conn.execute(text(f"SELECT t FROM {table} t ORDER BY t::text")).all()
            for table in ("job", "job_event", "lease", "generation")
        ]


MOVES: dict[str, Callable[[Connection, int, list[int]], object]] = {
    "complete": lambda conn, lease_id, ids: jobs.complete(conn, lease_id, ids),
    "fail": lambda conn, lease_id, ids: jobs.fail(conn, lease_id, [transient(job_id) for job_id in ids]),
    "claim": lambda conn, lease_id, ids: jobs.claim(conn, lease_id, "teacher.small", 10),
    "lose": lambda conn, lease_id, ids: jobs.report_lost(conn, lease_id, ids, "died"),
    "hold": lambda conn, lease_id, ids: jobs.hold(conn, lease_id),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("reclaimed", [False, True])
def test_a_revoked_lease_writes_nothing(world: "World", move: str, reclaimed: bool) -> None:
    lease_id, ids = world.leased(2)
    world.revoke(lease_id)
    if reclaimed:
        with world.engine.begin() as conn:
            assert len(jobs.claim(conn, world.lease(conn), world.queue, 10)) == 2
    before = everything(world)
    with world.engine.connect() as conn:
        with pytest.raises(LeaseLost, match=f"Lease {lease_id} was revoked"):
            MOVES[move](conn, lease_id, ids)
        conn.commit()
    assert everything(world) == before


def test_a_lease_that_never_was_is_lost(world: "World") -> None:
    with pytest.raises(LeaseLost), world.engine.begin() as conn:
        jobs.hold(conn, 987)


@pytest.mark.parametrize("how", ["revoked", "expired", "never"])
def test_a_heartbeat_does_not_revive_a_lease(world: "World", how: str) -> None:
    with world.engine.begin() as conn:
        lease_id = world.lease(conn) if how != "never" else 987
    world.expire(lease_id)
    if how == "revoked":
        world.reap()
    with world.engine.begin() as conn:
        assert jobs.heartbeat(conn, lease_id) is False
    assert world.scalar("SELECT count(*) FROM lease WHERE expires_at > clock_timestamp()") == 0


def test_a_heartbeat_renews_for_its_ttl(world: "World") -> None:
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        assert jobs.heartbeat(conn, lease_id, ttl_s=7) is True
    ttl = world.scalar("SELECT round(extract(epoch FROM expires_at - renewed_at)) FROM lease")
    assert ttl == 7


def test_only_jobs_that_are_still_the_leases_are_completed(world: "World") -> None:
    lease_id, ids = world.leased(2)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [transient(ids[0])])
        other = world.lease(conn)
        assert jobs.complete(conn, other, ids) == frozenset()
        assert world.answer(conn, lease_id, [*ids, 987]) == {ids[1]}
        assert world.answer(conn, lease_id, ids) == frozenset()
    assert world.scalar("SELECT count(*) FROM generation") == 1
    assert world.violations() == {}


def test_failures_of_other_leases_jobs_are_ignored(world: "World") -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        assert jobs.fail(conn, world.lease(conn), [transient(job_id)]) == 0
    assert world.job(job_id).lease_id == lease_id


# Reap


@pytest.mark.parametrize(("column", "reason"), [("expires_at", "expired"), ("deadline_at", "deadline")])
def test_reaping_revokes_what_ran_out_and_frees_its_jobs(world: "World", column: str, reason: str) -> None:
    lease_id, ids = world.leased(2)
    assert world.reap() == 0
    world.expire(lease_id, column)
    assert world.reap() == 2
    assert world.scalar("SELECT reason FROM lease WHERE id = :id", id=lease_id) == reason
    assert [world.job(job_id) for job_id in ids] == [(JobState.READY, 0, 1, None, None)] * 2
    assert world.reap() == 0


def test_a_worker_that_died_long_ago_is_said_to_have_expired(world: "World") -> None:
    lease_id, _ = world.leased(1)
    world.expire(lease_id, "deadline_at")
    world.revoke(lease_id)
    assert world.scalar("SELECT reason FROM lease WHERE id = :id", id=lease_id) == "expired"


def test_a_lease_is_not_revoked_while_its_worker_commits(world: "World") -> None:
    lease_id, ids = world.leased(2)
    world.expire(lease_id)
    with world.engine.begin() as worker:
        world.answer(worker, lease_id, ids[:1])
        assert world.reap() == 0
    assert world.reap() == 1
    assert world.job(ids[0]).state == JobState.DONE
    assert world.job(ids[1]).state == JobState.READY
    assert world.violations() == {}


def test_a_worker_stuck_in_a_transaction_does_not_keep_others_jobs_from_being_reaped(world: "World") -> None:
    ids = world.fill(2)
    with world.engine.begin() as conn:
        stuck, dead = world.lease(conn), world.lease(conn)
        for lease_id in (stuck, dead):
            jobs.claim(conn, lease_id, world.queue, 1)
    world.expire(stuck)
    world.expire(dead)
    with world.engine.begin() as worker:
        jobs.hold(worker, stuck)
        assert world.reap() == 1
    assert [world.job(job_id).lease_id for job_id in ids] == [stuck, None]


def test_a_worker_stuck_in_a_transaction_loses_it_and_then_its_lease(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HOLD_IDLE_S", 0.05)
    lease_id, (job_id,) = world.leased(1)
    world.expire(lease_id)
    worker = world.engine.connect()
    jobs.complete(worker, lease_id, [job_id])
    while world.reap() == 0:  # pytest's timeout ends this where Postgres never ends the transaction
        pass
    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        worker.execute(text("SELECT 1"))
    worker.invalidate()
    worker.close()
    assert world.job(job_id).state == JobState.READY


def test_a_reaper_stuck_in_its_transaction_does_not_keep_others_from_reaping(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HOLD_IDLE_S", 0.05)
    stuck = world.engine.connect()
    assert jobs.reap(stuck) == 0
    monkeypatch.undo()
    lease_id, (job_id,) = world.leased(1)
    world.expire(lease_id)
    while world.reap() == 0:  # pytest's timeout ends this where Postgres never ends the transaction
        pass
    stuck.invalidate()
    stuck.close()
    assert world.job(job_id).state == JobState.READY


def test_the_patience_with_a_transaction_ends_with_it(world: "World") -> None:
    lease_id, _ = world.leased(1)
    with world.engine.connect() as conn:
        before = conn.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
        jobs.hold(conn, lease_id)
        assert conn.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "1min"
        conn.commit()
        assert conn.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == before


def test_one_reaper_works_while_the_others_pass(world: "World") -> None:
    lease_id, ids = world.leased(2)
    world.expire(lease_id)
    with world.engine.begin() as first:
        assert jobs.reap(first) == 2
        assert world.reap() == 0
    assert [world.history(job_id).count(JobEvent.LOST) for job_id in ids] == [1, 1]


def test_a_claim_saves_a_lease_from_its_deadline(world: "World") -> None:
    world.fill(1)
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
    world.expire(lease_id, "deadline_at")
    with world.engine.begin() as conn:
        jobs.claim(conn, lease_id, world.queue, 1)
    assert world.reap() == 0


# Close


def test_closing_hands_back_what_is_unfinished_without_a_spent_attempt(world: "World") -> None:
    lease_id, ids = world.leased(3)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids[:1])
        assert jobs.close(conn, lease_id, "shutting down") == 2
        assert jobs.close(conn, lease_id, "again") == 0
    assert world.job(ids[1]) == (JobState.READY, 0, 0, None, None)
    assert world.history(ids[1])[-1] == JobEvent.RELEASED
    assert world.scalar("SELECT reason FROM lease WHERE id = :id", id=lease_id) == "released"
    with pytest.raises(LeaseLost), world.engine.begin() as conn:
        jobs.claim(conn, lease_id, world.queue, 1)
    assert world.violations() == {}
