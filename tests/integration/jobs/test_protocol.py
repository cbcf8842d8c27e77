"""The protocol of jobs and leases, move by move, in a real Postgres."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from persyn import jobs
from persyn.jobs import Failure, protocol
from persyn.states import JobEvent, JobState
from persyn.waits import LONGEST_S

if TYPE_CHECKING:
    from tests.integration.conftest import World


def transient(job_id: int, retry_after_s: float | None = None) -> Failure:
    return Failure(job_id, "timeout", "too slow", permanent=False, retry_after_s=retry_after_s)


# Enqueue


def test_enqueueing_twice_makes_no_second_job(world: "World") -> None:
    with world.engine.begin() as conn:
        assert world.enqueue(conn, world.prompts[:2]) == 2
        assert world.enqueue(conn, world.prompts[:3]) == 1
    assert world.scalar("SELECT count(*) FROM job") == 3


def test_a_history_begins_once_whatever_an_older_worker_writes(world: "World") -> None:
    (job_id,) = world.fill(1)
    with world.engine.begin() as conn:
        conn.execute(text("INSERT INTO job_event (job_id, event, attempt) VALUES (:id, 'enqueued', 0)"), {"id": job_id})
    assert world.history(job_id) == [JobEvent.ENQUEUED]
    assert world.violations() == {}


def test_enqueueing_what_should_all_be_new_skips_what_exists_after_all(world: "World") -> None:
    world.fill(2)
    with world.engine.begin() as conn:
        assert world.enqueue(conn, world.prompts[1:4], all_new=True) == 2
    with world.engine.begin() as conn:
        assert world.enqueue(conn, world.prompts[4:], all_new=True) == 2
    assert world.scalar("SELECT count(*) FROM job") == 6
    assert world.violations() == {}


def test_a_run_has_one_job_of_a_kind_that_it_does_as_a_whole(world: "World") -> None:
    with world.engine.begin() as conn:
        assert jobs.enqueue_stage(conn, world.run_id, "train_router", "router", 30) == 1
        assert jobs.enqueue_stage(conn, world.run_id, "train_router", "router", 30) == 0
        assert jobs.enqueue_stage(conn, world.run_id, "route", "router", 40) == 1
        kinds = [claim.kind for claim in jobs.claim(conn, world.lease(conn), "router", 10)]
    assert kinds == ["train_router"], "the routing waits for the router"


def test_waiting_counts_due_jobs_by_queue(world: "World") -> None:
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:2], queue="b")
        world.enqueue(conn, world.prompts[2:5], queue="a")
        conn.execute(text("UPDATE job SET not_before = 'infinity' WHERE prompt_id = :p"), {"p": world.prompts[0]})
        assert jobs.waiting(conn) == {"a": 3, "b": 1}


# Claim


def test_earlier_stages_are_claimed_first(world: "World") -> None:
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:2], stage=50)
        world.enqueue(conn, world.prompts[2:4], stage=10)
        lease_id = world.lease(conn)
        claimed = [claim.prompt_id for claim in jobs.claim(conn, lease_id, world.queue, 10)]
    assert claimed == [*world.prompts[2:4], *world.prompts[:2]]


def test_a_claim_takes_no_more_than_its_limit_and_only_from_its_queue(world: "World") -> None:
    ids = world.fill(3)
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[3:], queue="other", stage=10)
        lease_id = world.lease(conn)
        assert [claim.id for claim in jobs.claim(conn, lease_id, world.queue, 2)] == ids[:2]


def test_a_claim_may_ask_for_one_teacher_only(world: "World") -> None:
    ids = world.fill(2)
    small, large = world.teachers
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        assert jobs.next_group(conn, world.queue) == (world.run_id, 50, small, None)
        assert jobs.claim(conn, lease_id, world.queue, 10, teacher_id=large) == []
        assert [claim.id for claim in jobs.claim(conn, lease_id, world.queue, 10, teacher_id=small)] == ids
        assert jobs.next_group(conn, world.queue) is None


def test_a_job_that_is_not_due_is_not_claimed(world: "World") -> None:
    world.fill(1)
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET not_before = 'infinity'"))
        assert jobs.claim(conn, world.lease(conn), world.queue, 10) == []
        assert jobs.next_group(conn, world.queue) is None


def test_a_claim_skips_what_an_open_claim_holds_instead_of_waiting_for_it(world: "World") -> None:
    ids = world.fill(4)
    with world.engine.begin() as conn:
        leases = [world.lease(conn), world.lease(conn)]
    with world.engine.begin() as first, world.engine.begin() as second:
        second.execute(text("SET LOCAL lock_timeout = '5s'"))
        assert [claim.id for claim in jobs.claim(first, leases[0], world.queue, 2)] == ids[:2]
        assert [claim.id for claim in jobs.claim(second, leases[1], world.queue, 4)] == ids[2:]


def test_claimers_at_once_share_no_job_and_leave_none(world: "World") -> None:
    ids = world.fill(6)
    start = Barrier(3)

    def drain(_: int) -> list[int]:
        with world.engine.begin() as conn:
            lease_id = world.lease(conn)
        start.wait()
        taken: list[int] = []
        while True:
            with world.engine.begin() as conn:
                batch = jobs.claim(conn, lease_id, world.queue, 1)
            if not batch and world.scalar("SELECT count(*) FROM job WHERE state = 'ready'") == 0:
                return taken
            taken += [claim.id for claim in batch]

    with ThreadPoolExecutor(3) as threads:
        taken = [job_id for part in threads.map(drain, range(3)) for job_id in part]
    assert sorted(taken) == ids
    assert world.violations() == {}


def test_two_claims_at_once_under_one_lease_do_not_deadlock(world: "World") -> None:
    ids = world.fill(6)
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
    start = Barrier(2)

    def claim(_: int) -> list[int]:
        taken = []
        for _ in range(3):
            with world.engine.begin() as conn:
                start.wait()
                taken += [claim.id for claim in jobs.claim(conn, lease_id, world.queue, 1)]
        return taken

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(claim, range(2))
    assert sorted(first + second) == ids


def test_claiming_moves_the_deadline_and_an_empty_claim_does_not(world: "World") -> None:
    world.fill(1)
    deadline = "SELECT deadline_at > clock_timestamp() FROM lease WHERE id = :id"
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
    world.expire(lease_id, "deadline_at")
    with world.engine.begin() as conn:
        assert jobs.claim(conn, lease_id, "empty", 1) == []
    assert world.scalar(deadline, id=lease_id) is False
    with world.engine.begin() as conn:
        assert len(jobs.claim(conn, lease_id, world.queue, 1)) == 1
    assert world.scalar(deadline, id=lease_id) is True


# Suspects: jobs that were lost too often


def make_suspect(world: "World", job_id: int) -> None:
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET lost_count = 2 WHERE id = :id"), {"id": job_id})


def test_suspects_run_last_and_alone(world: "World") -> None:
    ids = world.fill(4)
    make_suspect(world, ids[0])
    make_suspect(world, ids[1])
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        assert [claim.id for claim in jobs.claim(conn, lease_id, world.queue, 10)] == ids[2:]
        jobs.complete(conn, lease_id, ids[2:])
        assert [claim.id for claim in jobs.claim(conn, lease_id, world.queue, 10)] == ids[:1]


def test_a_busy_worker_takes_no_suspect(world: "World") -> None:
    make_suspect(world, world.fill(1)[0])
    with world.engine.begin() as conn:
        assert jobs.claim(conn, world.lease(conn), world.queue, 10, idle=False) == []


def test_nothing_joins_a_suspect_under_its_lease(world: "World") -> None:
    ids = world.fill(1)
    make_suspect(world, ids[0])
    with world.engine.begin() as conn:
        suspect_lease = world.lease(conn)
        assert [claim.id for claim in jobs.claim(conn, suspect_lease, world.queue, 10)] == ids
        world.enqueue(conn, world.prompts[1:])
        assert jobs.claim(conn, suspect_lease, world.queue, 10, idle=False) == []
        assert len(jobs.claim(conn, world.lease(conn), world.queue, 10)) == 5


def test_the_next_group_is_a_suspect_only_when_nothing_else_is_due(world: "World") -> None:
    ids = world.fill(2)
    make_suspect(world, ids[0])
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET teacher_id = :t WHERE id = :id"), {"t": world.teachers[1], "id": ids[0]})
        assert jobs.next_group(conn, world.queue) == (world.run_id, 50, world.teachers[0], None)
        jobs.cancel(conn, ids[1:])
        assert jobs.next_group(conn, world.queue) == (world.run_id, 50, world.teachers[1], None)


def claim_one(world: "World") -> int:
    """A lease that holds the one job there is."""
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        assert len(jobs.claim(conn, lease_id, world.queue, 1)) == 1
    return lease_id


def server_dies(world: "World", lease_id: int, job_id: int) -> None:
    with world.engine.begin() as conn:
        jobs.report_lost(conn, lease_id, [job_id], "the server died")
        jobs.close(conn, lease_id, "the drain ended")


def test_a_job_is_poison_after_its_third_loss(world: "World") -> None:
    (job_id,) = world.fill(1)
    for _ in range(3):
        server_dies(world, claim_one(world), job_id)
    assert world.job(job_id) == (JobState.DEAD, 0, 3, None, "poison")
    assert world.history(job_id) == ["enqueued", "claimed", "lost", "claimed", "lost", "claimed", "died"]
    assert world.violations() == {}


def test_a_job_whose_leases_ran_out_gets_three_more_tries_and_its_row_says_so(world: "World") -> None:
    """Three hosts that were taken away are no proof against a prompt."""
    (job_id,) = world.fill(1)
    for losses in range(1, 6):
        world.revoke(claim_one(world))
        assert world.job(job_id) == (JobState.READY, 0, losses, None, None)
    world.revoke(claim_one(world))
    assert world.job(job_id) == (JobState.DEAD, 0, 6, None, "lease_ran_out")
    assert world.history(job_id) == ["enqueued", *["claimed", "lost"] * 5, "claimed", "died"]
    assert world.violations() == {}


def test_a_server_that_dies_under_a_job_whose_leases_ran_out_is_still_a_sure_sign(world: "World") -> None:
    (job_id,) = world.fill(1)
    for _ in range(4):
        world.revoke(claim_one(world))
    server_dies(world, claim_one(world), job_id)
    assert world.job(job_id) == (JobState.DEAD, 0, 5, None, "poison")
    assert world.violations() == {}


def test_losses_cost_no_attempt(world: "World") -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        assert jobs.report_lost(conn, lease_id, [job_id], "the server died") == 1
    assert world.job(job_id) == (JobState.READY, 0, 1, None, None)


def test_only_the_named_jobs_are_lost(world: "World") -> None:
    lease_id, ids = world.leased(3)
    with world.engine.begin() as conn:
        assert jobs.report_lost(conn, lease_id, ids[:1], "the server died") == 1
        assert jobs.report_lost(conn, lease_id, [], "nothing") == 0
    assert [world.job(job_id).state for job_id in ids] == ["ready", "leased", "leased"]


# Fail


def test_a_transient_failure_waits_and_a_permanent_one_ends(world: "World") -> None:
    lease_id, (first, second) = world.leased(2)
    with world.engine.begin() as conn:
        assert jobs.fail(conn, lease_id, [transient(first), Failure(second, "too_long", "no", permanent=True)]) == 2
    assert world.job(first) == (JobState.READY, 1, 0, None, "timeout")
    assert world.job(second) == (JobState.DEAD, 1, 0, None, "too_long")
    assert world.history(first)[-1] == JobEvent.RETRIED
    assert world.history(second)[-1] == JobEvent.DIED
    detail = "SELECT error_code || ': ' || detail FROM job_event WHERE job_id = :id AND event = 'died'"
    assert world.scalar(detail, id=second) == "too_long: no"


def test_the_last_attempt_ends_a_job(world: "World") -> None:
    lease_id, ids = world.leased(2)
    with world.engine.begin() as conn:
        for job_id, attempt in zip(ids, (protocol.MAX_ATTEMPTS - 1, protocol.MAX_ATTEMPTS), strict=True):
            conn.execute(text("UPDATE job SET attempt = :a WHERE id = :id"), {"a": attempt, "id": job_id})
        jobs.fail(conn, lease_id, [transient(job_id) for job_id in ids])
    assert [world.job(job_id).state for job_id in ids] == [JobState.READY, JobState.DEAD]


WAIT = "SELECT extract(epoch FROM not_before - (SELECT max(at) FROM job_event WHERE event = 'retried')) FROM job"
# The event is written a moment after `not_before` is computed.
SLACK_S = 0.9


@pytest.mark.parametrize(
    ("attempt", "retry_after_s", "low", "high"),
    [
        (1, None, 1, 2),  # half of 2^1 at least
        (4, None, 8, 16),
        (4, 3.0, 8, 16),  # the server asks for less than the backoff
        (1, 60.0, 60, 60),  # the server asks for more
        (4, LONGEST_S - 1, LONGEST_S - 1, LONGEST_S - 1),
        (1, 1e30, LONGEST_S, LONGEST_S),  # nonsense is cut
        (1, float("inf"), LONGEST_S, LONGEST_S),
        (1, float("nan"), LONGEST_S, LONGEST_S),
        (1, -5.0, 1, 2),
    ],
)
def test_a_retry_waits_within_its_range(
    world: "World", attempt: int, retry_after_s: float | None, low: float, high: float
) -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET attempt = :a"), {"a": attempt})
        jobs.fail(conn, lease_id, [transient(job_id, retry_after_s)])
    assert low - SLACK_S <= float(world.scalar(WAIT)) <= high


def test_the_backoff_is_capped(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_ATTEMPTS", 1000)
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET attempt = 500"))
        jobs.fail(conn, lease_id, [transient(job_id)])
    assert protocol.BACKOFF_CAP_S / 2 - SLACK_S <= float(world.scalar(WAIT)) <= protocol.BACKOFF_CAP_S


def test_waits_given_as_whole_and_broken_seconds_mix(world: "World") -> None:
    lease_id, ids = world.leased(3)
    failures = [transient(job_id, wait) for job_id, wait in zip(ids, (5, 2.5, None), strict=True)]
    with world.engine.begin() as conn:
        assert jobs.fail(conn, lease_id, failures) == 3


def test_success_clears_the_code_of_an_earlier_failure(world: "World") -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [transient(job_id)])
        conn.execute(text("UPDATE job SET not_before = '2000-01-01'"))
        jobs.claim(conn, lease_id, world.queue, 1)
        world.answer(conn, lease_id, [job_id])
    assert world.job(job_id) == (JobState.DONE, 2, 0, None, None)


def test_failures_that_hold_what_postgres_cannot_are_stored(world: "World") -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [Failure(job_id, "odd", "a\x00b\ud800c", permanent=True)])
    assert world.scalar("SELECT detail FROM job_event WHERE event = 'died'") == "a�b�c"


def test_a_failures_message_is_cut_to_what_one_reads(world: "World") -> None:
    lease_id, (job_id,) = world.leased(1)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [Failure(job_id, "odd", "x" * 9999, permanent=True)])
    stored = world.scalar("SELECT detail FROM job_event WHERE event = 'died'")
    assert stored == "x" * (protocol.DETAIL_LIMIT - 1) + "…"


# Operators


def test_cancelling_takes_ready_and_dead_jobs_only(world: "World") -> None:
    lease_id, (leased, dead, done) = world.leased(3)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [Failure(dead, "bad", "bad", permanent=True)])
        world.answer(conn, lease_id, [done])
        world.enqueue(conn, world.prompts[3:4])
        ready = conn.execute(text("SELECT id FROM job WHERE state = 'ready'")).scalar_one()
        assert jobs.cancel(conn, [leased, dead, done, ready]) == 2
    states = [world.job(job_id).state for job_id in (leased, dead, done, ready)]
    assert states == ["leased", "cancelled", "done", "cancelled"]
    assert world.violations() == {}


def test_reviving_gives_a_dead_job_a_fresh_start_and_reopens_its_run(world: "World") -> None:
    lease_id, ids = world.leased(2)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [Failure(ids[0], "bad", "bad", permanent=True)])
        conn.execute(text("UPDATE job SET lost_count = 3 WHERE id = :id"), {"id": ids[0]})
        conn.execute(text("UPDATE run SET finished_at = clock_timestamp()"))
        other_run = world.add_run(conn, "finished")
        conn.execute(text("UPDATE run SET finished_at = clock_timestamp() WHERE id = :id"), {"id": other_run})
        assert jobs.revive(conn, ids) == 1
    assert world.job(ids[0]) == (JobState.READY, 0, 0, None, None)
    assert world.history(ids[0])[-1] == JobEvent.REVIVED
    assert world.scalar("SELECT array_agg(name) FROM run WHERE finished_at IS NULL") == ["run"]
    assert world.violations() == {}
