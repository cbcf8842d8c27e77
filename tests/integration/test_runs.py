"""What a run's row may stand on, and that it never changes."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import runs, versions
from persyn.config import RunConfig, parse_run
from persyn.errors import ConfigError, NotFound
from persyn.states import Stage


def config(**changes: Any) -> RunConfig:
    teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("a", "b")]
    raw = {"name": "r", "prompts": "set", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    return parse_run(raw | changes, source="test")


def add_prompts(engine: Engine, count: int, reference: str | None = "1") -> None:
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO prompt_set (name) VALUES ('set')"))
        conn.execute(
            text("""
            INSERT INTO prompt (prompt_set_id, position, sha256, messages, reference_answer)
            SELECT s.id, n, md5(n::text), '[]', :reference FROM prompt_set s, generate_series(1, :count) n
            """),
            {"count": count, "reference": reference},
        )


def create(engine: Engine, config: RunConfig) -> int:
    with engine.begin() as conn:
        return runs.create(conn, config)


def test_an_unknown_prompt_set_says_how_to_make_it(engine: Engine) -> None:
    with pytest.raises(NotFound, match="persyn prompts import FILE --set set"):
        create(engine, config())


def test_a_set_of_three_prompts_is_too_small(engine: Engine) -> None:
    add_prompts(engine, 3)
    with pytest.raises(ConfigError, match="holds 3 prompts"):
        create(engine, config())


def test_a_set_without_reference_answers_is_refused_before_anything_is_generated(engine: Engine) -> None:
    add_prompts(engine, 4, reference=None)
    with pytest.raises(ConfigError, match="reference_answer"):
        create(engine, config())


def test_the_same_configuration_is_the_same_run(engine: Engine) -> None:
    add_prompts(engine, 4)
    assert create(engine, config()) == create(engine, config())


def test_a_run_never_changes_under_its_name(engine: Engine) -> None:
    add_prompts(engine, 4)
    create(engine, config())
    with pytest.raises(ConfigError, match="exists with another configuration"):
        create(engine, config(alpha=0.5))


def with_endpoint(**limits: Any) -> list[dict[str, Any]]:
    """The pool, with its first teacher behind an endpoint."""
    teachers = [teacher.model_dump() for teacher in config().teachers]
    teachers[0]["endpoint"] = {"url": "https://api.example.com/v1", **limits}
    return teachers


def test_what_an_endpoint_allows_and_costs_may_change_in_a_run(engine: Engine) -> None:
    add_prompts(engine, 4)
    run_id = create(engine, config(teachers=with_endpoint(requests_per_minute=10)))
    cheaper = {"requests_per_minute": 500, "price": {"input": 1, "output": 2}}
    assert create(engine, config(teachers=with_endpoint(**cheaper))) == run_id
    with engine.connect() as conn:
        first = versions.load_teacher(conn, runs.load(conn, run_id).teacher_ids[0])
    assert first.config.endpoint is not None
    assert first.config.endpoint.requests_per_minute == 500
    with pytest.raises(ConfigError, match="exists with another configuration"):
        create(engine, config(teachers=with_endpoint(url="https://other.example.com/v1")))


def test_runs_with_equal_teachers_share_their_versions_and_a_change_makes_a_new_one(engine: Engine) -> None:
    add_prompts(engine, 4)
    first, second = create(engine, config()), create(engine, config(name="other", alpha=0.5))
    changed = [teacher.model_dump() for teacher in config().teachers]
    changed[1]["system_prompt"] = "Be brief."
    third = create(engine, config(name="third", teachers=changed))
    with engine.connect() as conn:
        pools = [runs.load(conn, run_id).teacher_ids for run_id in (first, second, third)]
    assert pools[0] == pools[1]
    assert (pools[2][0] == pools[0][0], pools[2][1] == pools[0][1]) == (True, False)


def test_a_finished_run_that_aims_further_is_open_again_and_never_aims_back(engine: Engine) -> None:
    add_prompts(engine, 4)
    run_id = create(engine, config())
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.SCORE)
        conn.execute(text("UPDATE run SET finished_at = clock_timestamp()"))
        runs.aim(conn, run_id, Stage.CALIBRATE)
        assert (runs.load(conn, run_id).target, runs.load(conn, run_id).finished) == (Stage.SCORE, True)
        runs.aim(conn, run_id, Stage.ROUTE)
        assert (runs.load(conn, run_id).target, runs.load(conn, run_id).finished) == (Stage.ROUTE, False)
        assert runs.open_run_ids(conn) == [run_id]


def test_the_export_may_change_in_a_run_that_is_finished(engine: Engine) -> None:
    add_prompts(engine, 4)
    run_id = create(engine, config(export={"layout": "messages"}))
    with engine.begin() as conn:
        # A row as the version before wrote it, whose section had two keys.
        conn.execute(
            text("""UPDATE run SET finished_at = now(), config = jsonb_set(config, '{export}', CAST(:old AS jsonb))"""),
            {"old": '{"formats": ["jsonl"], "layout": "messages"}'},
        )
    assert create(engine, config(export={"formats": ["parquet"], "keep": "all"})) == run_id
    with engine.connect() as conn:
        run = runs.load(conn, run_id)
    assert (run.finished, run.config.export.formats, run.config.export.layout) == (
        True, ["parquet"], "prompt_completion",
    )  # fmt: skip
