"""The audit views: each invariant can be seen broken, and each view answers its question."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, text

from persyn import jobs
from persyn.jobs import Failure

if TYPE_CHECKING:
    from tests.integration.conftest import World

DECIDE = """
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, coefficients, margin, lease_id)
VALUES (:run, :prompt, 'persyn', :basis, :teacher, :router, :coefficients, :margin, :lease)
"""
ROUTER = """
INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path, artifact_sha256, metrics,
                    code_version, job_id, lease_id)
SELECT :run, 'b', :teachers, 0.4, 'minmax', 0, 'p', repeat('0', 64), '{}', '0', min(id), :lease FROM job RETURNING id
"""
STUDENT = """
INSERT INTO student_model (key_sha256, student_id, base_sha256, rows_sha256, hyperparameters, seed, dtype, rows,
                           left_out, tokens, steps, seconds, losses, final_loss, artifact_place, artifact_path,
                           artifact_sha256, code_version, trained_with, job_id, lease_id)
VALUES (repeat('0', 64), :student, repeat('0', 64), repeat('0', 64), '{"method": "lora"}', 3, 'float32', 8, '{}', 9, 1,
        1.5, '{0.5}', 0.5, 'database', 'p', repeat('0', 64), '0', '{}', 1, :lease) RETURNING id
"""
TRAINING = """
INSERT INTO student_training (run_id, policy, seed, settings, settings_sha256, generation_ids, with_reasoning,
                              answers_sha256, job_id, model_id)
VALUES (:run, 'strong', 3, '{"method": "full"}', repeat('0', 64), '{1, 2}', false, repeat('0', 64), :job, :model)
"""
REROUTE = """
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, attempt, failed_teacher_ids, gain, price,
                              lease_id)
VALUES (:run, :prompt, 'persyn', 'rerouted', :teacher, 2, :failed, 0.5, 1, :lease)
"""
GOOD_ENOUGH = """
INSERT INTO score (generation_id, scorer_id, value, job_id, lease_id)
SELECT generation_id, scorer_id, 1, id, lease_id FROM job WHERE id = :job
"""
SCORE_JOB = """
SELECT CAST(:run AS bigint) AS run_id, 'score' AS kind, 'score' AS queue, 20 AS stage, NULL::bigint AS prompt_id,
       NULL::bigint AS teacher_id, 0 AS sample_index, id AS generation_id, CAST(:scorer AS bigint) AS scorer_id
FROM generation
"""


class Story:
    """One answered job, one leased job and one dead job, all in order."""

    def __init__(self, world: "World", conn: Connection) -> None:
        self.world, self.conn = world, conn
        self.lease, (self.answered, self.leased, self.dead) = world.leased(3)
        world.answer(conn, self.lease, [self.answered])
        jobs.fail(conn, self.lease, [Failure(self.dead, "too_long", "2048 tokens at most", permanent=True)])

    def sql(self, statement: str, **values: Any) -> Any:
        return self.conn.execute(text(statement), values)

    def decide(self, *, basis: str = "static", router: int | None = None, best: int = 0, teacher: int = 0) -> None:
        coefficients = [float(position == best) for position in range(2)] if router else None
        self.sql(
            DECIDE, run=self.world.run_id, prompt=self.world.prompts[0], basis=basis, router=router, lease=self.lease,
            teacher=self.world.teachers[teacher], coefficients=coefficients, margin=0.5,
        )  # fmt: skip

    def reroute(self, teacher: int, failed: int) -> None:
        """The second decision about the first prompt, whose first teacher is 0."""
        self.decide()
        teachers = self.world.teachers
        self.sql(
            REROUTE, run=self.world.run_id, prompt=self.world.prompts[0], teacher=teachers[teacher],
            failed=[teachers[failed]], lease=self.lease,
        )  # fmt: skip

    def reroute_from_a_good_answer(self) -> None:
        self.sql(
            "INSERT INTO rerouting (run_id, bar, threshold, prices, lease_id) VALUES (:run, 0.5, 0, '{1, 1}', 1)",
            run=self.world.run_id,
        )
        self.sql(GOOD_ENOUGH, job=(job := self.score_job()))
        jobs.complete(self.conn, self.lease, [job])
        self.reroute(teacher=1, failed=0)

    def second_run(self) -> None:
        """It wants the answer that the first run has already."""
        self.sql(
            "INSERT INTO calibration_prompt (run_id, prompt_id, split) VALUES (:r, :p, 'train')",
            r=self.world.add_run(self.conn, "second"), p=self.world.prompts[0],
        )  # fmt: skip

    def router(self) -> int:
        teachers = self.world.teachers
        return int(self.sql(ROUTER, run=self.world.run_id, teachers=teachers, lease=self.lease).scalar_one())

    def student(self) -> int:
        return int(self.sql(STUDENT, student=self.world.student_id, lease=self.lease).scalar_one())

    def training(self, model: int | None) -> None:
        """The job that trains the student is done."""
        jobs.enqueue_one(self.conn, self.world.run_id, "train_student", "train", 80)
        (claim,) = jobs.claim(self.conn, self.lease, "train", 1)
        self.sql(TRAINING, run=self.world.run_id, job=claim.id, model=model)
        jobs.complete(self.conn, self.lease, [claim.id])

    def score_job(self) -> int:
        jobs.enqueue(self.conn, SCORE_JOB, {"run": self.world.run_id, "scorer": self.world.quality_id})
        return int(jobs.claim(self.conn, self.lease, "score", 1)[0].id)

    def vote(self, *, agreed: int, agree: list[str], value: float) -> None:
        """The first answer, which is of the teacher `small`, has a consensus."""
        self.sql("UPDATE scorer SET method = 'consensus' WHERE id = :id", id=self.world.quality_id)
        self.sql(GOOD_ENOUGH, job=(job := self.score_job()))
        jobs.complete(self.conn, self.lease, [job])
        detail = {"voted": 1, "agreed": agreed, "agree": agree, "differ": [], "unclear": []}
        self.sql("UPDATE score SET value = :v, detail = CAST(:d AS jsonb)", v=value, d=json.dumps(detail))

    def take_a_job_back_without_a_word(self) -> None:
        self.sql("UPDATE job SET state = 'ready', lease_id = NULL WHERE id = :id", id=self.leased)
        self.sql("""
            INSERT INTO job_count (run_id, queue, stage, state, jobs)
            SELECT run_id, queue, stage, side.state, side.jobs
            FROM job, (VALUES ('leased', -1), ('ready', 1)) AS side (state, jobs) WHERE id = :id
        """, id=self.leased)  # fmt: skip

    def move_answer_to_another_lease(self) -> None:
        self.sql("UPDATE generation SET lease_id = :id", id=self.world.lease(self.conn))

    def decide_by_measure(self, rewards: list[float]) -> None:
        self.decide(basis="measured")
        self.sql("UPDATE routing_decision SET coefficients = :rewards", rewards=rewards)

    def decide_within(self, budget: str, *, best: int) -> None:
        """The first teacher gets the prompt under a budget, though `best` has the highest coefficient."""
        config = f'{{"policy_options": {{"budget": {budget}}}}}'
        self.sql("UPDATE run SET config = CAST(:config AS jsonb)", config=config)
        self.decide(basis="budget", router=self.router(), best=best)

    def route_outside_of_the_pool(self) -> None:
        self.decide(teacher=1)
        self.sql("DELETE FROM run_teacher WHERE teacher_id = :id", id=self.world.teachers[1])

    def route(self) -> None:
        """The job that routes the run is done."""
        jobs.enqueue_stage(self.conn, self.world.run_id, "route", "router", 40)
        (claim,) = jobs.claim(self.conn, self.lease, "router", 1)
        jobs.complete(self.conn, self.lease, [claim.id])

    def calibrate(self, size: int, prompts: int) -> None:
        """The first prompts are the sample of a run that asked for `size`."""
        config = f'{{"calibration": {{"size": {size}}}}}'
        self.sql("UPDATE run SET config = CAST(:config AS jsonb)", config=config)
        for prompt in self.world.prompts[:prompts]:
            self.sql(
                "INSERT INTO calibration_prompt (run_id, prompt_id, split) VALUES (:r, :p, 'train')",
                r=self.world.run_id, p=prompt,
            )  # fmt: skip

    def calibrate_on_what_came_later(self) -> None:
        self.calibrate(1, 1)
        self.decide_on_all()
        self.route()
        self.sql("UPDATE prompt SET created_at = clock_timestamp() WHERE id = :id", id=self.world.prompts[0])

    def decide_on_all(self) -> None:
        for prompt in self.world.prompts:
            self.sql(
                DECIDE, run=self.world.run_id, prompt=prompt, basis="static", router=None, lease=self.lease,
                teacher=self.world.teachers[0], coefficients=None, margin=None,
            )  # fmt: skip

    def route_outside_of_the_set(self) -> None:
        self.decide()
        self.sql("INSERT INTO prompt_set (name) VALUES ('x')")
        self.sql("UPDATE run SET prompt_set_id = (SELECT id FROM prompt_set WHERE name = 'x')")


BREAKS: dict[str, Callable[[Story], object]] = {
    "job_events_form_a_legal_chain": lambda story: story.sql(
        "INSERT INTO job_event (job_id, event, attempt) VALUES (:id, 'claimed', 1)", id=story.leased
    ),
    "job_state_is_what_its_last_event_says": Story.take_a_job_back_without_a_word,
    "leased_jobs_have_an_open_lease": lambda story: story.sql(
        "UPDATE lease SET revoked_at = clock_timestamp(), reason = 'expired'"
    ),
    "nothing_was_committed_under_a_revoked_lease": lambda story: [
        jobs.close(story.conn, story.lease, "closed"),
        story.sql("UPDATE generation SET created_at = clock_timestamp()"),
    ],
    "every_answer_was_completed_under_its_own_lease": Story.move_answer_to_another_lease,
    "done_generate_jobs_have_an_answer": lambda story: jobs.complete(story.conn, story.lease, [story.leased]),
    "done_score_jobs_have_a_score": lambda story: jobs.complete(story.conn, story.lease, [story.score_job()]),
    "dead_jobs_say_why": lambda story: story.sql("UPDATE job_event SET error_code = NULL WHERE event = 'died'"),
    "decisions_name_a_teacher_of_the_pool": Story.route_outside_of_the_pool,
    "a_router_decision_is_its_largest_coefficient": lambda story: story.decide(
        basis="router", router=story.router(), best=1
    ),
    "a_decision_has_the_probability_that_its_run_explores_by": lambda story: [
        story.sql("""UPDATE run SET config = '{"policy_options": {"explore": 0.2}}'"""),
        story.decide(basis="router", router=story.router(), best=1),  # 0.2 / 2 would be right for the other teacher
        story.sql("UPDATE routing_decision SET basis = 'explored', probability = 0.2"),
    ],
    "a_measured_decision_is_its_best_reward": lambda story: story.decide_by_measure([0.2, 0.9]),
    "an_oracle_decides_by_what_was_measured": lambda story: [
        story.decide(),
        story.sql("UPDATE routing_decision SET policy = 'oracle'"),
    ],
    "a_budget_left_no_better_teacher_unlimited": lambda story: story.decide_within('{"small": {"share": 1}}', best=1),
    "no_teacher_exceeds_its_share_of_a_budget": lambda story: story.decide_within('{"small": {"share": 0}}', best=0),
    "routed_prompts_of_a_run_are_of_its_set": Story.route_outside_of_the_set,
    "coefficients_wait_only_until_a_budget_is_spent": lambda story: story.sql(
        "INSERT INTO routing_coefficients VALUES (:run, :prompt, 1, '{1, 0}', NULL, :lease)",
        run=story.world.run_id,
        prompt=story.world.prompts[0],
        lease=story.lease,
    ),
    "a_calibration_sample_keeps_to_its_size": lambda story: story.calibrate(1, 2),
    "no_calibration_prompt_came_after_the_routing": Story.calibrate_on_what_came_later,
    "a_routed_run_decided_on_every_prompt_that_was_there": Story.route,
    "a_decision_asks_for_each_further_answer": lambda story: [
        story.decide(),
        story.sql("UPDATE job SET sample_index = 1 WHERE id = :id", id=story.dead),
    ],
    "a_further_attempt_names_all_that_failed_before": lambda story: story.reroute(teacher=0, failed=1),
    "no_prompt_asks_a_teacher_again": lambda story: story.reroute(teacher=0, failed=0),
    "no_prompt_was_rerouted_from_an_answer_that_is_good_enough": Story.reroute_from_a_good_answer,
    "a_decision_names_the_router_that_its_run_goes_by": lambda story: [
        story.decide(basis="router", router=story.router()),
        story.sql("UPDATE router SET run_id = :id", id=story.world.add_run(story.conn, "second")),
    ],
    "a_run_with_the_router_of_another_calibrates_nothing": lambda story: [
        story.second_run(),
        story.sql("UPDATE run SET router_run_id = :id WHERE id <> :id", id=story.world.run_id),
    ],
    "a_consensus_is_the_share_of_votes_that_agree": lambda story: story.vote(agreed=1, agree=["large"], value=0.5),
    "no_teacher_votes_on_its_own_answer": lambda story: story.vote(agreed=1, agree=["small"], value=1.0),
    "a_router_in_the_database_has_its_files": lambda story: [
        story.router(),
        story.sql("UPDATE router SET artifact_place = 'database'"),
    ],
    "a_student_in_the_database_has_its_files": Story.student,
    "a_done_training_has_its_student": lambda story: story.training(None),
    "jobs_name_rows_that_exist": lambda story: story.sql(
        "UPDATE job SET prompt_id = 987 WHERE id = :id", id=story.leased
    ),
    "the_counts_of_jobs_are_right": lambda story: story.sql(
        "UPDATE job_count SET jobs = jobs + 1 WHERE id = (SELECT min(id) FROM job_count WHERE state = 'done')"
    ),
}


def test_every_invariant_is_seen_broken_below(world: "World") -> None:
    with world.engine.connect() as conn:
        assert set(conn.execute(text("SELECT invariant FROM audit.integrity")).scalars()) == BREAKS.keys()


@pytest.mark.parametrize("invariant", BREAKS)
def test_the_integrity_view_reports_the_broken_invariant_and_no_other(world: "World", invariant: str) -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
    assert world.violations() == {}
    with world.engine.begin() as conn:
        story.conn = conn
        BREAKS[invariant](story)
    assert world.violations() == {invariant: 1}


def test_a_router_decision_for_the_largest_coefficient_is_in_order(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide(basis="router", router=story.router(), best=1, teacher=1)
    assert world.violations() == {}


def test_the_view_of_students_tells_of_those_that_are_trained_and_of_those_that_wait(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        jobs.enqueue_one(conn, world.run_id, "train_student", "train", 80)
        waiting = story.sql("SELECT max(id) FROM job").scalar_one()
        story.sql(TRAINING.replace("strong", "car"), run=world.run_id, job=waiting, model=None)
        story.sql("UPDATE job SET not_before = clock_timestamp() + interval '1 day' WHERE id = :id", id=waiting)
        story.training(story.student())
        first, second = story.sql("SELECT * FROM audit.student_model").all()
    assert (first.policy, first.job_state, first.model_id, first.hyperparameters) == (
        "car", "ready", None, {"method": "full"},
    )  # fmt: skip
    assert (second.policy, second.job_state, second.final_loss, second.hyperparameters, second.host) == (
        "strong", "done", 0.5, {"method": "lora"}, "h",
    )  # fmt: skip


def test_the_trail_of_a_prompt_tells_what_happened_in_its_order(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide(basis="router", router=story.router())
        story.sql(
            "INSERT INTO export (run_id, format, layout, path, sha256, rows, policy)"
            " VALUES (:run, 'jsonl', 'messages', 'p', repeat('0', 64), 1, 'persyn')",
            run=world.run_id,
        )
        rows = story.sql(
            "SELECT what, teacher, detail FROM audit.prompt_trail WHERE prompt_id = :p ORDER BY at, step",
            p=world.prompts[0],
        ).all()
    assert [row.what for row in rows] == [
        "imported", "job enqueued", "job claimed", "job completed", "answered", "routed", "exported",
    ]  # fmt: skip
    assert [row.teacher for row in rows] == [None, *["small"] * 6]
    assert rows[5].detail["coefficients"] == {"small": 1.0, "large": 0.0}
    assert rows[4].detail["reused"] is False


def test_the_trail_tells_an_answer_that_an_export_left_out(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide(basis="router", router=story.router())
        story.sql("UPDATE generation SET finish_reason = 'length' WHERE job_id = :id", id=story.answered)
        for layout, policy, keep in (
            ("messages", "persyn", "{}"), ("messages", "persyn", "{cut}"), ("messages", "strong", "{cut}"),
            ("preference", "persyn", "{cut}"),
        ):  # fmt: skip
            story.sql(
                "INSERT INTO export (run_id, format, layout, path, sha256, rows, policy, keep)"
                " VALUES (:run, 'jsonl', :layout, 'p', repeat('0', 64), 1, :policy, CAST(:keep AS text[]))",
                run=world.run_id, layout=layout, policy=policy, keep=keep,
            )  # fmt: skip
        told = story.sql("SELECT what, detail FROM audit.prompt_trail WHERE step = 6 ORDER BY at").all()
    assert [(row.what, row.detail["flaws"]) for row in told] == [("left out", ["cut"]), ("exported", ["cut"])]


def test_a_decision_names_its_runner_up_and_the_calibration_prompts_near_to_it(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide(basis="router", router=story.router(), best=1, teacher=1)
        story.sql("UPDATE routing_decision SET neighbour_ids = :ids", ids=[world.prompts[3], world.prompts[1]])
        story.sql("UPDATE prompt SET external_id = 'p-1' WHERE id = :id", id=world.prompts[1])
        row = story.sql("SELECT * FROM audit.decision").one()
        trail = story.sql("SELECT detail FROM audit.prompt_trail WHERE what = 'routed'").scalar_one()
    assert (row.teacher, row.coefficient, row.margin) == ("large", 1.0, 0.5)
    assert (row.runner_up, row.runner_up_coefficient) == ("small", 0.0)
    assert row.neighbours == [str(world.prompts[3]), "p-1"]
    assert (trail["runner_up"], trail["runner_up_coefficient"], trail["neighbours"]) == ("small", 0.0, row.neighbours)


def test_a_decision_without_coefficients_has_no_runner_up(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide()
        row = story.sql("SELECT * FROM audit.decision").one()
    assert (row.teacher, row.coefficient, row.runner_up, row.coefficients, row.neighbours) == ("small", *[None] * 4)


def test_a_measured_decision_shows_rewards_and_no_coefficients(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        story.decide_by_measure([0.9, 0.2])
        trail = story.sql("SELECT detail FROM audit.prompt_trail WHERE what = 'routed'").scalar_one()
    assert trail["rewards"] == {"small": 0.9, "large": 0.2}
    assert "coefficients" not in trail


def test_the_trail_names_the_error_that_ended_a_job(world: "World") -> None:
    with world.engine.begin() as conn:
        story = Story(world, conn)
        rows = story.sql(
            "SELECT detail FROM audit.prompt_trail WHERE prompt_id = :p AND what = 'job died'", p=world.prompts[2]
        ).all()
    assert [(row.detail["error_code"], row.detail["error"], row.detail["worker"]) for row in rows] == [
        ("too_long", "2048 tokens at most", "w")
    ]
