"""A small run in a real database, and the moves that tests of the protocol make on it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.states import JobEvent

QUEUE = "generate.small"
SHA = "0" * 64


class JobRow(NamedTuple):
    state: str
    attempt: int
    lost_count: int
    lease_id: int | None
    error_code: str | None


class World:
    """One run of two teachers over six prompts. A move that takes no connection commits."""

    queue = QUEUE

    def __init__(self, engine: Engine, conn: Connection) -> None:
        self.engine = engine
        self.prompt_set_id = _insert(conn, "prompt_set", name="set")
        self.student_id = _insert(conn, "student", name="pupil", config_sha256=SHA, model="m", config="{}")
        scorer = {"method": "m", "config_sha256": SHA, "config": "{}"}
        self.quality_id = _insert(conn, "scorer", kind="quality", **scorer)
        self.learnability_id = _insert(conn, "scorer", kind="learnability", student_id=self.student_id, **scorer)
        self.prompts = [self._prompt(conn, position) for position in range(6)]
        self.teachers = [self._teacher(conn, name) for name in ("small", "large")]
        self.run_id = self.add_run(conn, "run")

    def _prompt(self, conn: Connection, position: int) -> int:
        return _insert(
            conn,
            "prompt",
            prompt_set_id=self.prompt_set_id,
            position=position,
            sha256=f"{position:064d}",
            messages="[]",
        )

    def _teacher(self, conn: Connection, name: str) -> int:
        return _insert(conn, "teacher", name=name, config_sha256=SHA, family="f", params_b=1.0, model="m", config="{}")

    def add_run(self, conn: Connection, name: str) -> int:
        run_id = _insert(
            conn, "run", name=name, prompt_set_id=self.prompt_set_id, student_id=self.student_id,
            quality_scorer_id=self.quality_id, learnability_scorer_id=self.learnability_id, policy="persyn",
            alpha=0.4, config="{}", config_sha256=SHA, code_version="0", library_versions="{}", target_stage=50,
        )  # fmt: skip
        for position, teacher_id in enumerate(self.teachers):
            conn.execute(
                text("INSERT INTO run_teacher (run_id, teacher_id, position) VALUES (:r, :t, :p)"),
                {"r": run_id, "t": teacher_id, "p": position},
            )
        return run_id

    def enqueue(self, conn: Connection, prompts: Sequence[int], *, queue: str = QUEUE, priority: int = 50) -> int:
        """Ask the first teacher for answers to these prompts."""
        source = """
            SELECT CAST(:run AS bigint) AS run_id, 'generate' AS kind, CAST(:queue AS text) AS queue,
                   CAST(:priority AS integer) AS priority, prompt_id, CAST(:teacher AS bigint) AS teacher_id,
                   NULL::bigint AS generation_id, NULL::bigint AS scorer_id
            FROM unnest(CAST(:prompts AS bigint[])) AS p (prompt_id)
        """
        values = {
            "run": self.run_id, "queue": queue, "priority": priority, "teacher": self.teachers[0],
            "prompts": list(prompts),
        }  # fmt: skip
        return jobs.enqueue(conn, source, values)

    def fill(self, count: int) -> list[int]:
        """`count` ready jobs, in the order of their ids."""
        with self.engine.begin() as conn:
            self.enqueue(conn, self.prompts[:count])
            return list(conn.execute(text("SELECT id FROM job ORDER BY id")).scalars())

    def lease(self, conn: Connection) -> int:
        return jobs.open_lease(conn, worker="w", host="h", queue=QUEUE, ttl_s=3600)

    def leased(self, count: int) -> tuple[int, list[int]]:
        """A lease that holds `count` jobs."""
        ids = self.fill(count)
        with self.engine.begin() as conn:
            lease_id = self.lease(conn)
            assert [claim.id for claim in jobs.claim(conn, lease_id, QUEUE, count)] == ids
        return lease_id, ids

    def expire(self, lease_id: int, column: str = "expires_at") -> None:
        """Let the lease run out now, so that no test has to wait for it."""
        with self.engine.begin() as conn:
            conn.execute(text(f"UPDATE lease SET {column} = '2000-01-01' WHERE id = :id"), {"id": lease_id})

    def reap(self) -> int:
        with self.engine.begin() as conn:
            return jobs.reap(conn)

    def revoke(self, lease_id: int) -> None:
        self.expire(lease_id)
        self.reap()

    def answer(self, conn: Connection, lease_id: int, job_ids: Sequence[int]) -> frozenset[int]:
        """Complete as a worker does: the answers of accepted jobs only, in the same transaction."""
        accepted = jobs.complete(conn, lease_id, job_ids)
        conn.execute(
            text("""
            INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed,
                                    latency_s, job_id, lease_id)
            SELECT prompt_id, teacher_id, 'answer', 'stop', 1, 1, 0, 0.1, id, :lease FROM job WHERE id = ANY(:ids)
            ON CONFLICT DO NOTHING
            """),
            {"lease": lease_id, "ids": list(accepted)},
        )
        return accepted

    def job(self, job_id: int) -> JobRow:
        with self.engine.connect() as conn:
            row = conn.execute(
                text("SELECT state, attempt, lost_count, lease_id, error_code FROM job WHERE id = :id"), {"id": job_id}
            ).one()
        return JobRow(*row)

    def history(self, job_id: int) -> list[JobEvent]:
        with self.engine.connect() as conn:
            return jobs.history(conn, job_id)

    def scalar(self, statement: str, **values: Any) -> Any:
        with self.engine.connect() as conn:
            return conn.execute(text(statement), values).scalar_one()

    def violations(self) -> dict[str, int]:
        """The broken invariants of `audit.integrity`; empty when all hold."""
        with self.engine.connect() as conn:
            rows = conn.execute(text("SELECT invariant, violations FROM audit.integrity WHERE violations <> 0"))
            return {row.invariant: row.violations for row in rows}


def _insert(conn: Connection, table: str, **values: Any) -> int:
    columns = ", ".join(values)
    places = ", ".join(f":{column}" for column in values)
    return int(
        conn.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING id"), values).scalar_one()
    )


@pytest.fixture(scope="session")
def build() -> Callable[[Engine, Connection], World]:
    """`build(engine, conn)` makes the world in the connection's transaction."""
    return World


@pytest.fixture
def world(engine: Engine) -> World:
    with engine.begin() as conn:
        return World(engine, conn)
