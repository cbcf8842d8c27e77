"""Migrations up, down and side by side, and what `differences` sees of a database that someone changed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DatabaseError

from persyn.db import migrate, session, views
from persyn.errors import SchemaError, ServiceError
from persyn.stages import ranges

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

if TYPE_CHECKING:
    from tests.integration.conftest import World

ROOT = Path(__file__).resolve().parents[3]
OLDER = "0006"
UPGRADE = "import sys; from persyn.db import migrate, session; migrate.upgrade(session.connect(sys.argv[1]))"


def relations(engine: Engine) -> list[str]:
    statement = """
        SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'v') ORDER BY 1
    """
    with engine.connect() as conn:
        return list(conn.execute(text(statement)).scalars())


def change(engine: Engine, *statements: str) -> None:
    with engine.begin() as conn:
        for statement in statements:
            conn.execute(text(statement))


def test_upgrading_makes_what_the_models_say_and_downgrading_leaves_nothing(empty: Engine) -> None:
    migrate.upgrade(empty)
    assert migrate.differences(empty) == []
    made = relations(empty)
    migrate.downgrade(empty, "base")
    assert relations(empty) == ["alembic_version"]
    migrate.upgrade(empty)
    assert relations(empty) == made
    assert migrate.differences(empty) == []


def test_upgrading_again_changes_nothing_and_leaves_no_timeout_behind(engine: Engine) -> None:
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []
    with engine.connect() as conn:
        timeouts = conn.execute(text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"))
        assert tuple(timeouts.one()) == ("0", "0")
        locks = conn.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        assert locks.scalar_one() == 0


def test_a_drawn_decision_stays_where_a_version_knows_no_exploring(world: "World") -> None:
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:1])
        keys = {"lease": world.lease(conn), "run": world.run_id, "prompt": world.prompts[0], "t": world.teachers[0]}
        router = conn.execute(
            text("""
            INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path,
                                artifact_sha256, metrics, code_version, job_id, lease_id)
            SELECT run_id, 'b', '{}', 0.4, 'minmax', 0, 'p', repeat('0', 64), '{}', '0', id, :lease FROM job
            RETURNING id
            """),
            keys,
        ).scalar_one()
        conn.execute(
            text("""
            INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, probability,
                                          lease_id)
            VALUES (:run, :prompt, 'persyn', 'explored', :t, :router, 0.01, :lease)
            """),
            keys | {"router": router},
        )
    migrate.downgrade(world.engine, "0020")
    assert world.scalar("SELECT basis = 'random' AND router_id IS NULL FROM routing_decision")
    migrate.upgrade(world.engine)
    assert world.scalar("SELECT basis = 'random' AND probability IS NULL FROM routing_decision")
    assert migrate.differences(world.engine) == []


def test_two_upgrades_at_once_both_succeed(empty: Engine) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", UPGRADE, empty.url.render_as_string(hide_password=False)]
    migrators = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    assert [migrator.communicate()[1] for migrator in migrators] == [b"", b""]
    assert [migrator.returncode for migrator in migrators] == [0, 0]
    assert migrate.differences(empty) == []


def test_a_migrator_sets_its_time_limits_only_once_it_is_its_turn(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    migrate.upgrade(engine)
    kinds = [kind for sent in statements for kind in ("pg_advisory_xact_lock", "lock_timeout", "DROP") if kind in sent]
    assert kinds == ["pg_advisory_xact_lock", "lock_timeout", "DROP"]


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DROP VIEW audit.cost"], "view audit.cost: missing"),
        (["CREATE VIEW audit.extra AS SELECT 1 AS one"], "view audit.extra: has no file"),
        (
            ["DROP VIEW audit.cost", "CREATE VIEW audit.cost AS SELECT id AS run_id FROM run"],
            "view audit.cost: differs from its file",
        ),
        (["ALTER TABLE job ADD COLUMN colour text"], "column job.colour: no model has it"),
        (
            ["ALTER TABLE job ALTER COLUMN queue DROP NOT NULL"],
            "column job.queue: is text, the models say text NOT NULL",
        ),
        (
            ["DROP SCHEMA audit CASCADE", "ALTER TABLE prompt ALTER COLUMN reference_answer TYPE varchar(9)"],
            "column prompt.reference_answer: is character varying(9), the models say text",
        ),
        (
            ["ALTER TABLE job ALTER COLUMN attempt SET DEFAULT 1"],
            "column job.attempt: is integer NOT NULL DEFAULT 1, the models say integer NOT NULL DEFAULT 0",
        ),
        (["ALTER TABLE job ALTER COLUMN id SET GENERATED BY DEFAULT"], "column job.id: is bigint NOT NULL BY DEFAULT"),
        (["ALTER TABLE worker DROP COLUMN model"], "column worker.model: missing"),
        (["DROP INDEX ix_job_ready"], "index ix_job_ready of job: missing"),
        (
            [
                "DROP INDEX ix_job_dead",
                "CREATE INDEX ix_job_dead ON job (run_id, id) WHERE state = 'dead' OR state = 'done'",
            ],
            "index ix_job_dead of job: is CREATE INDEX ix_job_dead ON job USING btree (run_id, id) WHERE ((state ="
            " 'dead'::text) OR (state = 'done'::text)), the models say CREATE INDEX ix_job_dead ON job USING btree"
            " (run_id, id) WHERE (state = 'dead'::text)",
        ),
        (["CREATE INDEX extra ON job (state)"], "index extra of job: no model has it"),
        (
            [
                "ALTER TABLE job DROP CONSTRAINT ck_job_counts",
                "ALTER TABLE job ADD CONSTRAINT ck_job_counts CHECK (true)",
            ],
            "constraint ck_job_counts of job: is CHECK (true), the models say CHECK (((attempt >= 0) AND",
        ),
        (["ALTER TABLE run DROP CONSTRAINT ck_run_alpha"], "constraint ck_run_alpha of run: missing"),
        (
            ["ALTER TABLE score DROP CONSTRAINT fk_score_scorer_id_scorer"],
            "constraint fk_score_scorer_id_scorer of score: missing",
        ),
        (
            ["ALTER TABLE router DROP CONSTRAINT uq_router_run_id"],
            "constraint uq_router_run_id of router: missing",
        ),
        (["ALTER TABLE job SET (fillfactor = 90)"], "table job: is autovacuum_vacuum_scale_factor=0.02, fillfactor=90"),
        (["CREATE TABLE stray (id bigint)"], "table stray: no model has it"),
    ],
)
def test_a_change_by_hand_is_told(engine: Engine, statements: list[str], told: str) -> None:
    change(engine, *statements)
    assert [problem for problem in migrate.differences(engine) if problem.startswith(told)]


def test_looking_for_differences_changes_nothing(engine: Engine) -> None:
    before = relations(engine)
    migrate.differences(engine)
    assert relations(engine) == before


def test_a_database_at_the_newest_migration_is_current(engine: Engine) -> None:
    migrate.require_current(engine)


def test_an_empty_database_is_refused_and_then_upgraded_if_needed(empty: Engine) -> None:
    with pytest.raises(SchemaError, match=r"at nothing, this version needs \d+\. Run `persyn db upgrade`"):
        migrate.require_current(empty)
    migrate.upgrade_if_needed(empty)
    migrate.require_current(empty)


def test_a_database_newer_than_the_program_asks_for_a_newer_program(engine: Engine) -> None:
    change(engine, "UPDATE alembic_version SET version_num = '9999'")
    for act in (migrate.require_current, migrate.upgrade):
        with pytest.raises(SchemaError, match=r"at 9999, which is newer than this version's \d+\. Upgrade PerSyn"):
            act(engine)


def test_a_role_without_rights_is_told_which_it_needs(
    empty: Engine, stranger: str, as_role: Callable[[Engine, str], Engine]
) -> None:
    with pytest.raises(
        SchemaError, match=rf"{stranger} may not make .* GRANT USAGE, CREATE ON SCHEMA public"
    ) as caught:
        migrate.upgrade(as_role(empty, stranger))
    granted = str(caught.value).partition(" say: ")[2].split(";")
    change(empty, *(statement for statement in granted if statement.strip()))
    migrate.upgrade(as_role(empty, stranger))
    migrate.require_current(as_role(empty, stranger))
    change(empty, f"REASSIGN OWNED BY {stranger} TO CURRENT_USER", f"DROP OWNED BY {stranger}")


def test_a_database_whose_views_are_another_versions_is_refused_and_healed(engine: Engine) -> None:
    change(engine, "COMMENT ON SCHEMA audit IS 'Views of another version'", "DROP VIEW audit.cost")
    with pytest.raises(SchemaError, match=r"views are another version's\. Run `persyn db upgrade`"):
        migrate.require_current(engine)
    migrate.upgrade_if_needed(engine)
    migrate.require_current(engine)
    assert migrate.differences(engine) == []


def test_nothing_is_migrated_where_nothing_need_be(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    migrate.upgrade_if_needed(engine)
    assert not [sent for sent in statements if "DROP" in sent or "lock" in sent]


def test_views_that_somebody_changed_are_healed_by_an_upgrade(engine: Engine) -> None:
    change(engine, "DROP VIEW audit.prompt_trail, audit.decision", "CREATE VIEW audit.decision AS SELECT 1 AS one")
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []


def test_a_view_that_a_later_version_no_longer_has_goes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = [view for view in views.all_views() if view.name != "throughput"]
    monkeypatch.setattr(views, "all_views", lambda: rest)
    migrate.upgrade_if_needed(engine)
    assert "throughput" not in relations(engine)
    assert migrate.differences(engine) == []


def test_a_view_on_top_of_ours_stops_the_upgrade_with_a_sentence_and_stays(engine: Engine) -> None:
    change(engine, "CREATE SCHEMA mine", "CREATE VIEW mine.bill AS SELECT run, cost FROM audit.cost")
    with pytest.raises(SchemaError, match=r"view mine\.bill depends on view audit\.cost\. Nothing was changed\."):
        migrate.upgrade(engine)
    change(engine, "SELECT * FROM mine.bill")
    assert migrate.differences(engine) == []


def test_a_view_beside_ours_outlives_an_upgrade(engine: Engine) -> None:
    change(engine, "CREATE VIEW audit.mine AS SELECT id FROM run")
    migrate.upgrade(engine)
    assert migrate.differences(engine) == ["view audit.mine: has no file"]


@pytest.mark.parametrize("broken", ["SELECT colour FROM run", "SELECT run FROM audit.cost, job FOR"])
def test_a_failure_at_the_last_view_leaves_everything_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    migrate.downgrade(engine, OLDER)
    before = relations(engine)
    files = [*views.all_views(), views.View("late", broken)]
    with monkeypatch.context() as patch:
        patch.setattr(views, "all_views", lambda: files)
        with pytest.raises(DatabaseError):
            migrate.upgrade(engine)
    assert relations(engine) == before
    with pytest.raises(SchemaError, match=f"at {OLDER}, this version needs"):
        migrate.require_current(engine)
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []


def test_an_older_database_is_refused(engine: Engine) -> None:
    migrate.downgrade(engine, OLDER)
    with pytest.raises(SchemaError, match=f"at {OLDER}, this version needs"):
        migrate.require_current(engine)


def test_a_database_from_before_the_first_revision_is_told_which_version_to_take(engine: Engine) -> None:
    with engine.connect() as conn:
        newest = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    change(engine, "UPDATE alembic_version SET version_num = '0004'")
    with pytest.raises(SchemaError, match=r"at 0004, .+ `persyn db upgrade` with the version of PerSyn that made 0006"):
        migrate.upgrade(engine)
    change(engine, f"UPDATE alembic_version SET version_num = '{newest}'")
    assert migrate.differences(engine) == []


@pytest.mark.parametrize("act", [migrate.upgrade, migrate.differences, migrate.require_current])
def test_a_database_out_of_reach_is_told_in_a_sentence(act: Callable[[Engine], object], tmp_path: Path) -> None:
    nowhere = session.connect(f"postgresql:///nothing?host={tmp_path}")
    with pytest.raises(ServiceError, match=r"Postgres cannot be reached: .+\. Check PERSYN_DATABASE_URL\."):
        act(nowhere)


DECIDE_ONE = """
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)
SELECT r.id, min(p.id), r.policy, 'static', min(rt.teacher_id), 1
FROM run r JOIN prompt p USING (prompt_set_id) JOIN run_teacher rt ON rt.run_id = r.id GROUP BY r.id
"""


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_run_that_one_job_routed_goes_on_and_ranges_become_one_job_again(
    small_run: "SmallRun", monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    monkeypatch.setattr(ranges, "PROMPTS", 3)
    small_run.advance()
    small_run.answer("a")
    small_run.answer("b")
    small_run.advance()
    small_run.score()
    small_run.advance()
    if done:
        small_run.route(limit=done)
    migrate.downgrade(small_run.engine, "0020")
    open_jobs = "SELECT count(*) FROM job WHERE kind = 'route' AND state <> 'done'"
    assert small_run.rows(open_jobs) == [(0 if done == 3 else 1,)]
    if not done:
        change(small_run.engine, DECIDE_ONE)  # the older version is half-way through
    migrate.upgrade(small_run.engine)
    assert migrate.differences(small_run.engine) == []
    small_run.work()
    assert small_run.state() == ("finished", "nothing is left to do")
    assert small_run.rows("SELECT count(*), count(DISTINCT prompt_id) FROM routing_decision") == [(8, 8)]
    assert small_run.violations() == {}


def test_an_older_version_decides_about_the_whole_set_without_the_ranges(
    build_run: "Callable[..., SmallRun]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PROMPTS", 3)
    run = build_run(policy="budgeted", policy_options={"budget": {"a": {"share": 0.5}}})
    with run.engine.begin() as conn:
        assert ranges.enqueue(conn, run.id) == 3
    migrate.downgrade(run.engine, "0020")
    assert run.rows("SELECT count(*) FROM job WHERE kind = 'route'") == [(0,)]
    migrate.upgrade(run.engine)
    assert run.violations() == {}
