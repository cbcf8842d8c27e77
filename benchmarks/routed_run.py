"""A run whose prompts are all routed, in a database of its own: what the benchmarks of the queue start from.

It is made by the product's own code, so its rows are what a user's are; only the many prompts and decisions go in
by one statement each.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, text

from persyn import jobs, runs, services
from persyn.config import RunConfig, Settings
from persyn.db import migrate, session
from persyn.jobs import wake_ups

TEACHERS = 4
QUESTION = "A shop sells {} pencils a day at {} cents each. How much does it take in a week of six days? " * 2
ANSWER = "First we work out what the shop takes in one day, then we multiply by the number of days. " * 13

_PROMPTS = text("""
INSERT INTO prompt (prompt_set_id, position, external_id, sha256, messages, reference_answer)
SELECT :set_id, n, 'p' || n, encode(sha256(convert_to(:name || n, 'UTF8')), 'hex'),
       jsonb_build_array(jsonb_build_object('role', 'user', 'content', replace(:question, '{}', n::text))), n::text
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
""")

# Round robin, so that each teacher gets its share and neighbouring prompts go to different ones.
_DECISIONS = text("""
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, margin, lease_id)
SELECT :run_id, p.id, r.policy, 'static', t.teacher_id, 0.5, :lease_id
FROM run r
JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
JOIN run_teacher t ON t.run_id = r.id AND t.position = p.position % :teachers
WHERE r.id = :run_id ORDER BY p.id
""")


class Site(NamedTuple):
    engine: Engine
    endpoints: services.Endpoints


@contextmanager
def site() -> Iterator[Site]:
    """A Postgres and a Valkey for this measurement alone, with the embedded services' settings."""
    with tempfile.TemporaryDirectory(prefix="persyn-bench-") as home:
        settings = Settings.from_environment()._replace(home=Path(home), database_url=None, broker_url=None)
        endpoints = services.connect(settings)
        engine = session.connect(endpoints.database_url)
        try:
            migrate.upgrade(engine)
            yield Site(engine, endpoints)
        finally:
            engine.dispose()
            services.stop(settings)


def teacher_queues() -> list[str]:
    return [wake_ups.teacher_queue(f"t{number}") for number in range(TEACHERS)]


def create(engine: Engine, name: str, prompts: int) -> int:
    """A run of `prompts` prompts, each routed to one of the teachers; nothing is enqueued yet. Returns its id."""
    with engine.begin() as conn:
        set_id = conn.execute(
            text("INSERT INTO prompt_set (name) VALUES (:name) RETURNING id"), {"name": name}
        ).scalar_one()
        values = {"set_id": set_id, "name": name, "question": QUESTION, "first": 0, "last": prompts - 1}
        conn.execute(_PROMPTS, values)
        run_id = runs.create(conn, _config(name))
        lease_id = jobs.open_lease(conn, worker="benchmark", host="here", queue=wake_ups.ROUTER)
        conn.execute(_DECISIONS, {"run_id": run_id, "lease_id": lease_id, "teachers": TEACHERS})
        jobs.close(conn, lease_id, "routed")
    return run_id


def _config(name: str) -> RunConfig:
    teachers = [
        {
            "name": f"t{number}",
            "family": "f",
            "params_b": 1.0,
            "model": "m",
            "endpoint": {"url": "http://127.0.0.1:1/v1"},
        }
        for number in range(TEACHERS)
    ]
    given = {"name": name, "prompts": name, "student": {"name": "s", "model": "m"}, "teachers": teachers}
    return RunConfig.model_validate_json(json.dumps(given))


def vacuum(engine: Engine) -> None:
    """Fresh statistics and visibility, so that a measurement does not pay for the set-up before it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE"))
