"""A run whose jobs a test does by hand, and what the audit finds broken."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from persyn import jobs, reporting, runs
from persyn.config import RunConfig, parse_run
from persyn.stages import generate, pipeline, score
from persyn.states import Stage


class SmallRun:
    """A run of two teachers, `a` and `b`, whose jobs the test does by hand: no process, no model."""

    def __init__(self, engine: Engine, prompts: int = 8, **changes: Any) -> None:
        self.engine = engine
        self.import_prompts(0, prompts)
        teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("a", "b")]
        given = {"name": "small", "prompts": "set", "student": {"name": "s", "model": "m"}, "teachers": teachers,
                 "calibration": {"size": 4}, "policy": "random", "reroute": "off"}  # fmt: skip
        self.config = parse_run(given | changes, source="test")
        self.id = self.create(self.config)

    def create(self, config: RunConfig, stage: Stage = Stage.GENERATE) -> int:
        with self.engine.begin() as conn:
            run_id = runs.create(conn, config)
            runs.aim(conn, run_id, stage)
        return run_id

    def import_prompts(self, first: int, count: int) -> None:
        with self.engine.begin() as conn:
            conn.execute(text("INSERT INTO prompt_set (name) VALUES ('set') ON CONFLICT DO NOTHING"))
            conn.execute(
                text("""
                INSERT INTO prompt (prompt_set_id, position, external_id, sha256, messages, reference_answer)
                SELECT s.id, n, 'p' || n, encode(sha256(CAST(n::text AS bytea)), 'hex'), '[]', '1'
                FROM prompt_set s, generate_series(CAST(:first AS int), :last) n
                """),
                {"first": first, "last": first + count - 1},
            )

    def advance(self) -> pipeline.Progress:
        return pipeline.advance(self.engine, self.id)

    def claim(self, conn: Connection, queue: str, limit: int = 1000) -> tuple[int, list[jobs.Claim]]:
        lease_id = jobs.open_lease(conn, worker="w", host="h", queue=queue)
        return lease_id, jobs.claim(conn, lease_id, queue, limit)

    def answer(self, teacher: str, limit: int = 1000) -> int:
        with self.engine.begin() as conn:
            lease_id, claims = self.claim(conn, f"teacher.{teacher}", limit)
            new = [generate.NewGeneration(request, "1", None, "stop", 1, 1, 0.1, None)
                   for request in generate.requests(conn, claims)]  # fmt: skip
            return generate.store(conn, lease_id, new)

    def score(self) -> None:
        for kind in ("quality", "learnability"):
            with self.engine.begin() as conn:
                lease_id, claims = self.claim(conn, f"score.{kind}")
                score.store(conn, lease_id, [score.Scored(item, 1.0, {}) for item in score.items(conn, claims)])

    def calibrate(self) -> None:
        """Both teachers answer the calibration prompts, and all is scored."""
        self.advance()
        self.answer("a")
        self.answer("b")
        self.advance()
        self.score()
        self.advance()

    def kill(self, queue: str, code: str, *, permanent: bool = False, limit: int = 1000) -> int:
        """The queue's jobs die: at once, or with their last attempt."""
        with self.engine.begin() as conn:
            if not permanent:
                conn.execute(text("UPDATE job SET attempt = 4 WHERE queue = :q AND attempt = 0"), {"q": queue})
            lease_id, claims = self.claim(conn, queue, limit)
            return jobs.fail(
                conn, lease_id, [jobs.Failure(claim.id, code, "it says no", permanent) for claim in claims]
            )

    def route(self, limit: int = 1000) -> int:
        """Every prompt of the jobs' ranges without a decision goes to the first teacher; returns how many jobs."""
        with self.engine.begin() as conn:
            lease_id, claims = self.claim(conn, "router", limit)
            assert {claim.kind for claim in claims} == {"route"}
            conn.execute(
                text("""
                INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, samples, lease_id)
                SELECT r.id, p.id, r.policy, 'static', rt.teacher_id, :samples, :lease
                FROM job j
                JOIN run r ON r.id = j.run_id
                JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
                 AND (j.first_prompt_id IS NULL OR p.id BETWEEN j.first_prompt_id AND j.last_prompt_id)
                JOIN run_teacher rt ON rt.run_id = r.id AND rt.position = 0 WHERE j.id = ANY(:ids)
                ON CONFLICT DO NOTHING
                """),
                {"ids": [claim.id for claim in claims], "lease": lease_id, "samples": self.config.teachers[0].samples},
            )
            return len(jobs.complete(conn, lease_id, [claim.id for claim in claims]))

    def work(self) -> None:
        """Do all that there is until nothing is left."""
        for _ in range(12):
            progress = self.advance()
            if progress.finished:
                return
            self.answer("a")
            self.answer("b")
            self.score()
            with self.engine.connect() as conn:
                routes = "router" in jobs.waiting(conn)
            if routes:
                self.route()
        pytest.fail(f"it does not come to an end: {self.rows('SELECT kind, stage, state FROM job')}")

    def state(self) -> tuple[str, str]:
        with self.engine.connect() as conn:
            status = reporting.status(conn, self.id)
        return status.state, status.reason

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.connect() as conn:
            return list(conn.execute(text(statement), values))

    def violations(self) -> dict[str, int]:
        with self.engine.connect() as conn:
            return violations(conn)


def violations(conn: Connection) -> dict[str, int]:
    rows = conn.execute(text("SELECT invariant, violations FROM audit.integrity WHERE violations <> 0"))
    return {row.invariant: row.violations for row in rows}
