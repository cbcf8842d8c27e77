"""The protocol against a model of it: whatever order workers, reapers and operators move in, both must agree."""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.errors import LeaseLost
from persyn.jobs import Failure, protocol, statements
from persyn.states import JobEvent, follow

if TYPE_CHECKING:
    from tests.integration.conftest import World

EXAMPLES, STEPS = 50, 30


@dataclass
class ModelJob:
    """What a job must look like."""

    id: int
    stage: int
    state: str = "ready"
    attempt: int = 0
    lost: int = 0
    lease: int | None = None
    due: bool = True

    def row(self) -> tuple[int, str, int, int, int | None]:
        return self.id, self.state, self.attempt, self.lost, self.lease

    def leave(self, state: str) -> None:
        self.state, self.lease = state, None


@dataclass
class ModelLease:
    open: bool = True
    ran_out: bool = False
    past_deadline: bool = False


PROMPTS = st.integers(0, 5)
SOME_PROMPTS = st.sets(PROMPTS, min_size=1, max_size=4)
SOME_LEASE = st.integers(0, 3)


class Protocol(RuleBasedStateMachine):
    """Jobs are named by their prompt, 0 to 5; leases by their order, the newest four at most."""

    def __init__(self, world: "World", conn: Connection) -> None:
        super().__init__()
        self.world, self.conn = world, conn
        with conn.begin():
            # Children first; nothing is ever deleted outside of tests.
            for table in ("generation", "job_event", "job_count", "job", "lease"):
                conn.execute(text(f"DELETE FROM {table}"))
        self.jobs: dict[int, ModelJob] = {}
        self.leases: dict[int, ModelLease] = {}

    # The model's own moves

    def pick(self, index: int) -> int:
        newest = list(self.leases)[-4:]
        return newest[index % len(newest)]

    def ids(self, prompts: set[int]) -> list[int]:
        return [self.jobs[prompt].id for prompt in sorted(prompts) if prompt in self.jobs]

    def held(self, lease_id: int) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.lease == lease_id]

    def named(self, prompts: set[int], *states: str) -> list[ModelJob]:
        return [job for prompt, job in self.jobs.items() if prompt in prompts and job.state in states]

    def lose_in_model(self, lost: list[ModelJob], losses: int) -> None:
        for job in lost:
            job.leave("dead" if job.lost + 1 >= losses else "ready")
            job.attempt, job.lost, job.due = job.attempt - 1, job.lost + 1, True

    def claimable(self, lease_id: int, limit: int, idle: bool) -> list[ModelJob]:
        held = self.held(lease_id)
        due = self.in_order([job for job in self.jobs.values() if job.state == "ready" and job.due])
        plain = [job for job in due if job.lost < 2]
        if any(job.lost >= 2 for job in held):
            return []
        if plain:
            return plain[:limit]
        return [job for job in due if idle and not held][:1]

    def in_order(self, due: list[ModelJob]) -> list[ModelJob]:
        """Earlier stages first, then what became due first; when that was, only the database knows."""
        with self.conn.begin():
            times = {row.id: row.not_before for row in self.conn.execute(text("SELECT id, not_before FROM job"))}
        return sorted(due, key=lambda job: (job.stage, times[job.id], job.id))

    def refused(self, lease_id: int, move: Any) -> bool:
        """Whether the lease is revoked; if so, the move must say so and change nothing (the invariants look)."""
        if self.leases[lease_id].open:
            return False
        with pytest.raises(LeaseLost), self.conn.begin():
            move()
        return True

    # Workers

    @rule()
    def open_lease(self) -> None:
        with self.conn.begin():
            self.leases[self.world.lease(self.conn)] = ModelLease()

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE, limit=st.integers(1, 4), idle=st.booleans())
    def claim(self, lease: int, limit: int, idle: bool) -> None:
        lease_id = self.pick(lease)
        queue = self.world.queue
        if self.refused(lease_id, lambda: jobs.claim(self.conn, lease_id, queue, limit, idle=idle)):
            return
        expected = self.claimable(lease_id, limit, idle)
        with self.conn.begin():
            claimed = jobs.claim(self.conn, lease_id, queue, limit, idle=idle)
        for job in expected:
            job.state, job.lease, job.attempt = "leased", lease_id, job.attempt + 1
            self.leases[lease_id].past_deadline = False
        assert [(claim.id, claim.attempt, claim.lost_count) for claim in claimed] == [
            (job.id, job.attempt, job.lost) for job in expected
        ]

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE)
    def heartbeat(self, lease: int) -> None:
        lease_id = self.pick(lease)
        model = self.leases[lease_id]
        with self.conn.begin():
            assert jobs.heartbeat(self.conn, lease_id, ttl_s=3600) is (model.open and not model.ran_out)

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE, prompts=SOME_PROMPTS)
    def complete(self, lease: int, prompts: set[int]) -> None:
        lease_id, ids = self.pick(lease), self.ids(prompts)
        if self.refused(lease_id, lambda: self.world.answer(self.conn, lease_id, ids)):
            return
        with self.conn.begin():
            accepted = self.world.answer(self.conn, lease_id, ids)
        finished = [job for job in self.held(lease_id) if job.id in ids]
        assert accepted == {job.id for job in finished}
        for job in finished:
            job.leave("done")

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE, prompts=SOME_PROMPTS, permanent=st.booleans())
    def fail(self, lease: int, prompts: set[int], permanent: bool) -> None:
        lease_id, ids = self.pick(lease), self.ids(prompts)
        failures = [Failure(job_id, "broken", "it broke", permanent) for job_id in ids]
        if self.refused(lease_id, lambda: jobs.fail(self.conn, lease_id, failures)):
            return
        failed = [job for job in self.held(lease_id) if job.id in ids]
        with self.conn.begin():
            assert jobs.fail(self.conn, lease_id, failures) == len(failed)
            # On a slow machine a second may pass before the next step, and with it the backoff.
            self._shift([job.id for job in failed], "1 hour")
        for job in failed:
            job.leave("dead" if permanent or job.attempt >= protocol.MAX_ATTEMPTS else "ready")
            job.due = False

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE, prompts=SOME_PROMPTS)
    def lose(self, lease: int, prompts: set[int]) -> None:
        lease_id, ids = self.pick(lease), self.ids(prompts)
        if self.refused(lease_id, lambda: jobs.report_lost(self.conn, lease_id, ids, "the server died")):
            return
        lost = [job for job in self.held(lease_id) if job.id in ids]
        with self.conn.begin():
            assert jobs.report_lost(self.conn, lease_id, ids, "the server died") == len(lost)
        self.lose_in_model(lost, losses=3)

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE)
    def close(self, lease: int) -> None:
        lease_id = self.pick(lease)
        released = self.held(lease_id)
        with self.conn.begin():
            assert jobs.close(self.conn, lease_id, "shutting down") == len(released)
        for job in released:
            job.leave("ready")
            job.attempt, job.due = job.attempt - 1, True
        self.leases[lease_id].open = False

    # Time

    def _shift(self, job_ids: list[int], interval: str) -> None:
        self.conn.execute(
            text("UPDATE job SET not_before = not_before + CAST(:by AS interval) WHERE id = ANY(:ids)"),
            {"ids": job_ids, "by": interval},
        )

    @rule()
    def backoffs_pass(self) -> None:
        waiting = [job for job in self.jobs.values() if not job.due]
        with self.conn.begin():
            self._shift([job.id for job in waiting], "-1 day")
        for job in waiting:
            job.due = True

    @precondition(lambda self: self.leases)
    @rule(lease=SOME_LEASE, column=st.sampled_from(["expires_at", "deadline_at"]))
    def lease_runs_out(self, lease: int, column: str) -> None:
        lease_id = self.pick(lease)
        with self.conn.begin():
            self.conn.execute(text(f"UPDATE lease SET {column} = '2000-01-01' WHERE id = :id"), {"id": lease_id})
        if column == "expires_at":
            self.leases[lease_id].ran_out = True
        else:
            self.leases[lease_id].past_deadline = True

    @rule()
    def reap(self) -> None:
        overdue = [key for key, lease in self.leases.items() if lease.open and (lease.ran_out or lease.past_deadline)]
        lost = [job for lease_id in overdue for job in self.held(lease_id)]
        with self.conn.begin():
            assert jobs.reap(self.conn) == len(lost)
        self.lose_in_model(lost, losses=6)
        for lease_id in overdue:
            self.leases[lease_id].open = False

    @rule()
    def fold_the_counts(self) -> None:
        with self.conn.begin():
            self.conn.execute(statements.FOLD, {"at_most": 0})

    # Operators

    @rule(prompts=SOME_PROMPTS)
    def enqueue(self, prompts: set[int]) -> None:
        new = sorted(prompts - self.jobs.keys())
        with self.conn.begin():
            count = sum(
                self.world.enqueue(self.conn, [self.world.prompts[prompt]], stage=self.stage(prompt))
                for prompt in sorted(prompts)
            )
            rows = self.conn.execute(text("SELECT prompt_id, id FROM job")).all()
        assert count == len(new)
        by_prompt = {row.prompt_id: row.id for row in rows}
        for prompt in new:
            self.jobs[prompt] = ModelJob(by_prompt[self.world.prompts[prompt]], self.stage(prompt))

    @staticmethod
    def stage(prompt: int) -> int:
        return 10 if prompt % 2 else 50

    @rule(prompts=SOME_PROMPTS)
    def cancel(self, prompts: set[int]) -> None:
        cancelled = self.named(prompts, "ready", "dead")
        with self.conn.begin():
            assert jobs.cancel(self.conn, self.ids(prompts)) == len(cancelled)
        for job in cancelled:
            job.leave("cancelled")

    @rule(prompts=SOME_PROMPTS)
    def revive(self, prompts: set[int]) -> None:
        revived = self.named(prompts, "dead", "cancelled")
        with self.conn.begin():
            assert jobs.revive(self.conn, self.ids(prompts)) == len(revived)
        for job in revived:
            job.leave("ready")
            job.attempt, job.lost, job.due = 0, 0, True

    # What must hold after every move

    @invariant()
    def the_database_is_as_the_model(self) -> None:
        with self.conn.begin():
            rows = self.conn.execute(text("SELECT id, state, attempt, lost_count, lease_id FROM job ORDER BY id")).all()
            open_leases = self.conn.execute(text("SELECT id FROM lease WHERE revoked_at IS NULL")).scalars().all()
        assert [tuple(row) for row in rows] == sorted(job.row() for job in self.jobs.values())
        assert set(open_leases) == {key for key, lease in self.leases.items() if lease.open}

    @invariant()
    def every_invariant_of_the_audit_holds(self) -> None:
        with self.conn.begin():
            rows = self.conn.execute(text("SELECT invariant, violations FROM audit.integrity")).all()
        assert [row for row in rows if row.violations] == []

    @invariant()
    def every_history_leads_to_its_jobs_state(self) -> None:
        with self.conn.begin():
            events = self.conn.execute(text("SELECT job_id, event FROM audit.job_history ORDER BY job_id, id")).all()
        reached = {
            job_id: follow([JobEvent(row.event) for row in group])
            for job_id, group in groupby(events, key=lambda row: row.job_id)
        }
        assert reached == {job.id: job.state for job in self.jobs.values()}

    @invariant()
    def exactly_the_done_jobs_have_one_answer(self) -> None:
        with self.conn.begin():
            answered = self.conn.execute(text("SELECT job_id FROM generation ORDER BY job_id")).scalars().all()
        assert list(answered) == sorted(job.id for job in self.jobs.values() if job.state == "done")


def test_the_protocol_does_what_its_model_says(world: "World", engine: Engine) -> None:
    with engine.connect() as conn:
        conn.execute(text("SET synchronous_commit = off"))  # thousands of commits that need not survive a crash
        conn.commit()
        run_state_machine_as_test(
            lambda: Protocol(world, conn),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
