"""Deleting: what goes, what another run keeps, and that all invariants hold afterwards."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import removal
from persyn.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

COEFFICIENTS = "INSERT INTO routing_coefficients SELECT :id, id, 1, '{1, 0}', NULL, 1 FROM prompt"


@pytest.fixture
def done(small_run: "SmallRun") -> "SmallRun":
    small_run.work()
    return small_run


def count(run: "SmallRun", table: str) -> int:
    return int(run.rows(f"SELECT count(*) FROM {table}")[0][0])


def test_a_deleted_run_leaves_prompts_and_versions_and_nothing_else(done: "SmallRun") -> None:
    with done.engine.begin() as conn:
        conn.execute(
            text("INSERT INTO rerouting (run_id, bar, threshold, prices, lease_id) VALUES (:id, 1, 0, '{1, 1}', 1)"),
            {"id": done.id},
        )
        conn.execute(text(COEFFICIENTS), {"id": done.id})
        numbers = removal.size_of_run(conn, done.id)
        assert removal.delete_run(conn, done.id) == []
    assert numbers["answers"] == 12
    assert numbers["decisions"] == 8
    gone = ("run", "job", "job_event", "job_count", "generation", "score", "routing_decision", "rerouting",
            "routing_coefficients", "calibration_prompt")  # fmt: skip
    assert {table: count(done, table) for table in gone} == dict.fromkeys(gone, 0)
    assert (count(done, "prompt"), count(done, "teacher")) == (8, 2)
    assert done.violations() == {}


def test_answers_stay_while_another_run_needs_them(done: "SmallRun") -> None:
    done.create(done.config.model_copy(update={"name": "second", "alpha": 0.1}))
    with done.engine.begin() as conn:
        removal.delete_run(conn, done.id)
    assert (count(done, "generation"), count(done, "score")) == (12, 24)
    assert done.violations() == {}
    (second,) = done.rows("SELECT id FROM run")
    done.id = second.id
    done.work()
    assert done.state()[0] == "finished"
    assert count(done, "generation") == 12
    assert done.violations() == {}
    with done.engine.begin() as conn:
        removal.delete_run(conn, done.id)
    assert (count(done, "generation"), count(done, "score")) == (0, 0)


def test_a_run_that_is_worked_on_is_not_deleted(small_run: "SmallRun") -> None:
    small_run.advance()
    with small_run.engine.begin() as conn:
        small_run.claim(conn, "teacher.a", 2)
    with small_run.engine.begin() as conn, pytest.raises(ConfigError, match="Workers hold 2 of the jobs"):
        removal.delete_run(conn, small_run.id)
    assert count(small_run, "run") == 1


def test_a_deleted_prompt_takes_all_with_it_and_names_the_files(done: "SmallRun") -> None:
    with done.engine.begin() as conn:
        conn.execute(text(COEFFICIENTS), {"id": done.id})
        conn.execute(
            text(
                "INSERT INTO export (run_id, format, layout, policy, path, sha256, rows)"
                " VALUES (:id, 'f', 'l', 'persyn', '/x', '', 8)"
            ),
            {"id": done.id},
        )
        ids = removal.find_prompts(conn, "set", ["p0", "p1"])
        assert removal.delete_prompts(conn, ids) == ["/x"]
    assert (count(done, "prompt"), count(done, "routing_decision")) == (6, 6)
    assert count(done, "routing_coefficients") == 6
    assert done.rows("SELECT prompt_count, decided_count FROM run") == [(6, 6)]
    assert done.rows("SELECT count(*) FROM generation WHERE prompt_id = ANY(:ids)", ids=ids) == [(0,)]
    assert done.violations() == {"coefficients_wait_only_until_a_budget_is_spent": 6}, "they are of no budget here"
    assert done.advance().finished


def test_no_statement_of_a_deletion_grows_with_the_set(
    done: "SmallRun", monkeypatch: pytest.MonkeyPatch, longest_list: list[int]
) -> None:
    monkeypatch.setattr(removal, "AT_ONCE", 3)
    with done.engine.begin() as conn:
        ids = removal.find_prompts(conn, "set", [], everything=True)
        assert len(ids) == 8
        longest_list.clear()
        assert removal.size_of_prompts(conn, ids)["prompts"] == 8
        removal.delete_prompts(conn, ids)
    assert max(longest_list) == 3
    assert (count(done, "prompt"), count(done, "routing_decision"), count(done, "generation")) == (0, 0, 0)
    assert done.violations() == {}


def test_a_prompt_is_found_by_id_number_and_hash(done: "SmallRun") -> None:
    (prompt,) = done.rows("SELECT id, sha256 FROM prompt WHERE external_id = 'p3'")
    with done.engine.connect() as conn:
        for key in ("p3", str(prompt.id), prompt.sha256):
            assert removal.find_prompts(conn, "set", [key]) == [prompt.id]
        with pytest.raises(NotFound, match="has no such prompt"):
            removal.find_prompts(conn, "set", ["p99"])


def test_a_set_goes_only_after_its_runs(done: "SmallRun") -> None:
    with done.engine.begin() as conn, pytest.raises(ConfigError, match="Runs stand on the set 'set': small"):
        removal.delete_set(conn, "set")
    with done.engine.begin() as conn:
        removal.delete_run(conn, done.id)
        removal.delete_prompts(conn, removal.find_prompts(conn, "set", [], everything=True))
        removal.delete_set(conn, "set")
    assert (count(done, "prompt"), count(done, "prompt_set")) == (0, 0)


def test_pruning_takes_the_events_of_ended_runs_and_keeps_results(build_run: Callable[..., Any]) -> None:
    run = build_run()
    run.work()
    events, answers = count(run, "job_event"), count(run, "generation")
    assert removal.prune(run.engine, 3600.0) == dict.fromkeys(removal.PRUNED_TABLES, 0)
    with run.engine.begin() as conn:
        conn.execute(text("UPDATE run SET finished_at = '2020-01-01'"))
    assert removal.prune(run.engine, 3600.0)["job_event"] == events
    assert (count(run, "job_event"), count(run, "generation")) == (0, answers)
    assert run.violations() == {}
    assert run.advance().finished
