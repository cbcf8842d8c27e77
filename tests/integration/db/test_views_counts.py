"""The audit views that count: failures, answers and who made them, cost, shares, throughput."""

import json
from typing import TYPE_CHECKING

from tests.integration.db.test_views import DECIDE, Story

if TYPE_CHECKING:
    from tests.integration.conftest import World


def test_failures_are_counted_by_code_with_an_example(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        row = story.sql("SELECT * FROM audit.failures").one()
    assert (row.event, row.error_code, row.times, row.jobs, row.dead_now) == ("died", "too_long", 1, 1, 1)
    assert (row.example_job_id, row.example_detail) == (story.dead, "2048 tokens at most")


def test_a_second_run_is_told_that_its_answers_were_another_runs_work(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.second_run()
        rows = story.sql("SELECT run, teacher, generated, reused, prompt_tokens FROM audit.cost").all()
    assert [tuple(row) for row in rows] == [("run", "small", 1, 0, 1), ("second", "small", 0, 1, 0)]


def test_further_answers_are_those_of_the_run_whose_decision_asks_for_them(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.second_run()
        story.decide()
        story.sql("UPDATE routing_decision SET samples = 2")
        story.sql("""
            INSERT INTO generation (prompt_id, teacher_id, sample_index, text, finish_reason, seed, latency_s, job_id,
                                    lease_id)
            SELECT prompt_id, teacher_id, index, 'more', 'stop', 0, 0.1, job_id, lease_id
            FROM generation, generate_series(1, 2) AS index""")  # a third answer is another run's still
        for view in ("run_answer", "answer"):
            rows = story.sql(f"SELECT run_id, sample_index FROM audit.{view} ORDER BY 1, 2").all()
            assert [(row.run_id == world.run_id, row.sample_index) for row in rows] == [
                (True, 0), (True, 1), (False, 0),
            ]  # fmt: skip
        cost = story.sql("SELECT run, generated, reused FROM audit.cost").all()
        trail = "SELECT run_id = :run FROM audit.prompt_trail WHERE what = 'answered' ORDER BY 1"
        assert [row[0] for row in story.sql(trail, run=world.run_id)] == [False, True, True]
    assert [tuple(row) for row in cost] == [("run", 2, 0), ("second", 0, 1)]


def test_what_answers_cost_is_their_tokens_at_the_runs_price(world: "World") -> None:
    price = {"teachers": [{"endpoint": {"price": {"input": 2.5, "output": 10}}}, {}]}
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.sql("UPDATE run SET config = CAST(:config AS jsonb)", config=json.dumps(price))
        story.sql("UPDATE generation SET prompt_tokens = 3000000, completion_tokens = 200000")
        story.second_run()
        rows = story.sql("SELECT run, cost FROM audit.cost").all()
    assert [tuple(row) for row in rows] == [("run", 9.5), ("second", None)]


def test_an_answer_that_nobody_counted_makes_the_cost_unknown(world: "World") -> None:
    price = {"teachers": [{"endpoint": {"price": {"input": 2.5, "output": 10}}}, {}]}
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.sql("UPDATE run SET config = CAST(:config AS jsonb)", config=json.dumps(price))
        story.sql("UPDATE generation SET completion_tokens = NULL")
        row = story.sql("SELECT uncounted, cost FROM audit.cost").one()
    assert tuple(row) == (1, None)


def test_teacher_shares_of_a_run_add_up_to_one(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        for teacher, prompts in zip(world.teachers, (world.prompts[:1], world.prompts[1:4]), strict=True):
            for prompt in prompts:
                story.sql(
                    DECIDE, run=world.run_id, prompt=prompt, basis="static", router=None, lease=story.lease,
                    teacher=teacher, coefficients=None, margin=None,
                )  # fmt: skip
        rows = story.sql("SELECT teacher, prompts, share FROM audit.teacher_share").all()
    assert [tuple(row) for row in rows] == [("large", 3, 0.75), ("small", 1, 0.25)]


def test_throughput_counts_answers_and_tokens(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        row = story.sql("SELECT * FROM audit.throughput").one()
    assert (row.teacher, row.generations, row.completion_tokens, row.median_latency_s) == ("small", 1, 1, 0.1)
