"""What a run's row may stand on, and that it never changes."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import runs, versions
from persyn.config import Endpoint, Judge, RunConfig, parse_run
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


def first_endpoint(engine: Engine, run_id: int) -> Endpoint | None:
    """The endpoint of the run's first teacher, as a worker reads it."""
    with engine.connect() as conn:
        return versions.load_teacher(conn, runs.load(conn, run_id).teacher_ids[0]).config.endpoint


def test_an_endpoint_may_move_and_the_run_that_was_written_last_says_where_it_is(engine: Engine) -> None:
    add_prompts(engine, 4)
    old, new = (config(name=name, teachers=with_endpoint()) for name in ("old", "new"))
    first = create(engine, old)
    second = create(engine, new)
    moved = with_endpoint(url="https://other.example.com/v1", api_key_env="OTHER_KEY")
    assert create(engine, config(name="old", teachers=moved)) == first
    found = first_endpoint(engine, second)
    assert found is not None
    assert (found.url, found.api_key_env) == ("https://other.example.com/v1", "OTHER_KEY")
    with engine.connect() as conn:
        assert runs.load(conn, first).teacher_ids == runs.load(conn, second).teacher_ids


def test_a_judges_endpoint_may_move_as_well(engine: Engine) -> None:
    add_prompts(engine, 4)

    def judged(name: str, **endpoint: Any) -> RunConfig:
        judge = {"kind": "judge", "model": "j", "endpoint": {"url": "http://one/v1"} | endpoint}
        return config(name=name, scorers={"quality": judge})

    run_id = create(engine, judged("r"))
    assert create(engine, judged("r", url="http://two/v1", requests_per_minute=6)) == run_id
    create(engine, judged("other", url="http://three/v1"))
    with engine.connect() as conn:
        [scorer_id] = conn.execute(text("SELECT id FROM scorer WHERE method = 'judge'")).scalars()
        scorer = versions.load_scorer(conn, scorer_id).config
    assert isinstance(scorer, Judge)
    assert scorer.endpoint.url == "http://three/v1"


def test_a_changed_run_is_refused_with_the_keys_that_differ(engine: Engine) -> None:
    add_prompts(engine, 4)
    create(engine, config())
    teachers = [teacher.model_dump() for teacher in config().teachers]
    teachers[1]["sampling"]["temperature"] = 0.5
    with pytest.raises(ConfigError, match=r"configuration: teachers\[1\].sampling.temperature, alpha differ\."):
        create(engine, config(alpha=0.5, teachers=teachers))


def answer(engine: Engine, teacher: str, finish_reasons: list[str], *, limit: int) -> None:
    """An answer of the teacher's newest version to each prompt in turn, ending so, with a score of its own."""
    with engine.begin() as conn:
        conn.execute(
            text("""
            WITH ends AS (SELECT * FROM unnest(CAST(:ends AS text[])) WITH ORDINALITY AS e (finish_reason, place)),
            brought AS (INSERT INTO generation_import (run_id, path) SELECT max(id), 'f' FROM run RETURNING id),
            new AS (
                INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, origin, import_id)
                SELECT p.id, (SELECT max(id) FROM teacher WHERE name = :teacher), 'by ' || :limit, finish_reason,
                       'imported', (SELECT id FROM brought)
                FROM ends JOIN prompt p ON p.position = place
                RETURNING id
            )
            INSERT INTO score (generation_id, scorer_id, value, import_id)
            SELECT new.id, s.id, 1, brought.id FROM new, brought, scorer s WHERE s.kind = 'quality'
            """),
            {"ends": finish_reasons, "teacher": teacher, "limit": str(limit)},
        )


def limited(name: str, limit: int) -> RunConfig:
    teachers = [teacher.model_dump() for teacher in config().teachers]
    teachers[0]["sampling"]["max_tokens"] = limit
    return config(name=name, teachers=teachers)


def answers_of(engine: Engine, run_id: int) -> list[tuple[int, str, str, int]]:
    """Position, text, end and number of scores of each answer of the run's first teacher."""
    with engine.connect() as conn:
        rows = conn.execute(
            text("""
            SELECT p.position, g.text, g.finish_reason, (SELECT count(*) FROM score s WHERE s.generation_id = g.id)
            FROM generation g JOIN prompt p ON p.id = g.prompt_id WHERE g.teacher_id = :id ORDER BY p.position
            """),
            {"id": runs.load(conn, run_id).teacher_ids[0]},
        )
        return [tuple(row) for row in rows]


def test_a_larger_limit_of_tokens_asks_again_only_for_what_was_cut(engine: Engine) -> None:
    add_prompts(engine, 4)
    first = create(engine, limited("short", 64))
    answer(engine, "a", ["stop", "length", "content_filter", "error"], limit=64)
    longer = create(engine, limited("long", 128))
    kept = [(1, "by 64", "stop", 1), (3, "by 64", "content_filter", 1)]
    assert answers_of(engine, longer) == kept
    assert len(answers_of(engine, first)) == 4, "an earlier run keeps what it had"
    # A smaller limit would not bring more of what a larger one cut.
    shorter = create(engine, limited("shorter", 32))
    assert answers_of(engine, shorter) == [*kept[:1], (2, "by 64", "length", 1), *kept[1:]]


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


def test_the_students_training_may_change_in_a_run_that_is_finished(engine: Engine) -> None:
    add_prompts(engine, 4)
    run_id = create(engine, config())
    with engine.begin() as conn:
        conn.execute(text("UPDATE run SET finished_at = now()"))
    student = config().student.model_dump(mode="json")
    assert create(engine, config(student=student | {"training": {"epochs": 5}})) == run_id
    with engine.connect() as conn:
        run = runs.load(conn, run_id)
        students = conn.execute(text("SELECT count(*) FROM student")).scalar_one()
    assert run.config.student.training is not None
    assert (run.finished, run.config.student.training.epochs, students) == (True, 5, 1)


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
