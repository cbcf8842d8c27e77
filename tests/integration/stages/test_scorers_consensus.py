"""Runs whose quality is the agreement of teachers, through real workers: votes, second opinions, rerouting."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs, reporting, runs
from persyn.cli import terminal
from persyn.config import parse_run
from persyn.jobs.operators import Filter, retry
from persyn.stages import pipeline
from persyn.states import Stage
from persyn.workers.score import drain_scores
from persyn.workers.worker import Worker
from tests.integration.small_run import SmallRun

PROMPTS, CALIBRATION = 30, 12
QUEUE = "score.quality"


def voted(site: Any, **changes: Any) -> int:
    """A run by agreement alone, up to its end; every teacher adds up six sums of ten rightly, each others."""
    site.prepare(PROMPTS, CALIBRATION)
    site.configure_stub(sums_right=0.6)
    opinion = changes.pop("opinion", [0])
    quality = {"kind": "consensus", "opinion": [f"t{number}-{site.tag}" for number in opinion]}
    raw = json.loads(site.config_file.read_text()) | {
        "name": f"voted-{site.tag}", "alpha": 0.0, "reroute": {"least_gain": 0.0}, "policy": "mix",
        "policy_options": {"strong": f"t2-{site.tag}", "weak": f"t1-{site.tag}", "strong_share": 1.0},
        "scorers": {"quality": quality, "learnability": "none"},
    } | changes  # fmt: skip
    with site.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, Stage.REROUTE)
    pipeline.advance(site.engine, run_id)
    return int(run_id)


def said(site: Any) -> dict[int, dict[str, str]]:
    """Each prompt's answers by teacher."""
    answers: dict[int, dict[str, str]] = defaultdict(dict)
    for prompt_id, teacher, answer in site.rows(
        "SELECT g.prompt_id, t.name, g.text FROM generation g JOIN teacher t ON t.id = g.teacher_id"
    ):
        answers[prompt_id][teacher.removesuffix(f"-{site.tag}")] = answer
    return answers


def values(site: Any) -> dict[tuple[int, str], tuple[float, set[str]]]:
    """Each score by prompt and teacher, with who voted."""
    rows = site.rows("""
        SELECT g.prompt_id, t.name, x.value, x.detail FROM score x JOIN generation g ON g.id = x.generation_id
        JOIN teacher t ON t.id = g.teacher_id""")
    tag = f"-{site.tag}"
    return {
        (prompt_id, name.removesuffix(tag)): (
            value, {voter.removesuffix(tag) for voter in (*detail["agree"], *detail["differ"])},
        )
        for prompt_id, name, value, detail in rows
    }  # fmt: skip


def attempts(site: Any) -> dict[int, list[str]]:
    """The teachers of each routed prompt, in order."""
    rows = site.rows("""
        SELECT d.prompt_id, array_agg(t.name ORDER BY d.attempt) FROM routing_decision d
        JOIN teacher t ON t.id = d.teacher_id WHERE d.basis <> 'measured' GROUP BY 1""")
    return {prompt_id: [name.removesuffix(f"-{site.tag}") for name in names] for prompt_id, names in rows}


def check_everything(site: Any, run_id: int, *, opinion: str) -> None:
    """Every verdict against the answers as they stand in the table, and every further teacher against the verdicts."""
    answers, scores, asked = said(site), values(site), attempts(site)
    assert len(asked) == PROMPTS - CALIBRATION
    calibration = {row[0] for row in site.rows("SELECT prompt_id FROM calibration_prompt WHERE run_id = :r", r=run_id)}
    for (prompt_id, teacher), (value, voters) in scores.items():
        texts = answers[prompt_id]
        if prompt_id in calibration:
            expected = {"t0", "t1", "t2"} - {teacher}
        else:
            place = asked[prompt_id].index(teacher)
            expected = {opinion, *asked[prompt_id][:place]}
        assert voters == expected
        assert value == sum(texts[voter] == texts[teacher] for voter in voters) / len(voters)
    for prompt_id, teachers in asked.items():
        assert teachers[0] == "t2", "all is routed to the strong teacher"
        agree = answers[prompt_id]["t2"] == answers[prompt_id][opinion]
        third = ({"t0", "t1"} - {opinion}).pop()
        assert teachers[1:] == ([] if agree else [third])
    further = sum(len(teachers) - 1 for teachers in asked.values())
    assert 0 < further < len(asked), "some prompts were rerouted, and some were not"
    assert len(scores) == 3 * CALIBRATION + len(asked) + further
    routed = PROMPTS - CALIBRATION
    generated = 3 * CALIBRATION + 2 * routed + further
    assert site.scalar("SELECT count(*) FROM generation") == generated
    assert site.scalar("SELECT count(*) FROM job WHERE state <> 'done'") == 0
    assert site.rows("SELECT * FROM job_event WHERE event IN ('retried', 'died')") == []
    assert site.violations() == {}
    with site.engine.connect() as conn:
        summary = reporting.summary(conn, run_id)
    counted = {one.teacher.removesuffix(f"-{site.tag}"): (one.opinions, one.generated) for one in summary.teachers}
    assert counted[opinion] == (routed, CALIBRATION + routed)
    assert summary.generated == generated
    assert sum(row[0] for row in site.rows("SELECT generated FROM audit.cost WHERE run_id = :r", r=run_id)) == generated


def test_a_run_by_agreement_asks_for_opinions_and_reroutes_where_they_differ(site: Any, tmp_path: Any) -> None:
    run_id = voted(site)
    site.start_worker()
    site.follow(run_id)
    check_everything(site, run_id, opinion="t0")
    assert set(site.times_asked().values()) == {1}
    with site.engine.connect() as conn:
        teachers, _ = terminal.summary_tables(reporting.summary(conn, run_id))
    assert [str(column.header) for column in teachers.columns][1:3] == ["prompts", "opinions"]
    told = site.rows("""
        SELECT DISTINCT teacher FROM audit.prompt_trail WHERE what = 'answered' AND detail @> '{"opinion": true}'""")
    assert told == [(f"t0-{site.tag}",)]

    # What no other teacher agrees with may be right all the same: it is below the bar, and no wrong answer.
    flaws = {flaw for row in site.rows("SELECT flaws FROM audit.answer WHERE run_id = :r", r=run_id) for flaw in row[0]}
    assert flaws == {"below_bar"}
    done = site.persyn("export", f"voted-{site.tag}", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    exported = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert len(exported) == PROMPTS
    assert not any(
        row["teacher"] == f"t0-{site.tag}" for row in exported if int(row["external_id"][1:]) in _routed(site)
    )


def _routed(site: Any) -> set[int]:
    rows = site.rows("""
        SELECT p.position FROM routing_decision d JOIN prompt p ON p.id = d.prompt_id WHERE d.basis <> 'measured'""")
    return {row[0] for row in rows}


def test_what_is_routed_to_the_opinion_gets_the_opinion_of_another(site: Any) -> None:
    run_id = voted(site, opinion=[2])  # the strong teacher itself; the first other one is t0
    site.start_worker()
    site.follow(run_id)
    check_everything(site, run_id, opinion="t0")


def test_a_killed_worker_loses_and_doubles_no_opinion(site: Any) -> None:
    run_id = voted(site)
    worker = site.start_worker()
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE stage = 50") > 0)
    site.configure_stub(latency_s=3.0)
    opinions = """
        SELECT count(*) FROM audit.opinion o JOIN job j ON j.kind = 'generate' AND j.run_id = o.run_id
          AND j.teacher_id = o.teacher_id AND j.prompt_id = o.prompt_id WHERE j.state = 'leased'"""
    site.eventually(lambda: site.scalar(opinions) > 0)
    worker.kill()
    worker.wait()
    assert site.scalar(opinions) > 0, "the worker died with no opinion in hand, so this test has shown nothing"
    site.configure_stub(latency_s=0.0)
    with site.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    site.start_worker()
    site.follow(run_id)
    check_everything(site, run_id, opinion="t0")


TEACHERS = [{"name": name, "family": "f", "params_b": size, "model": "m"} for size, name in enumerate("abcd", 1)]


@pytest.fixture
def build(engine: Engine) -> Callable[..., SmallRun]:
    def make(opinion: str | None = None, **changes: Any) -> SmallRun:
        quality = {"kind": "consensus"} | ({"opinion": opinion} if opinion else {})
        scorers = {"quality": quality, "learnability": "none", "score": "all" if opinion else "calibration"}
        return SmallRun(engine, scorers=scorers, alpha=0.0, teachers=TEACHERS, **changes)

    return make


def waiting(run: SmallRun) -> int:
    return int(run.rows("SELECT count(*) FROM job WHERE queue = :q AND state = 'ready'", q=QUEUE)[0][0])


def score(run: SmallRun, tmp_path: Any) -> None:
    drain_scores(Worker(run.engine, tmp_path), QUEUE)


def test_a_vote_is_counted_once_no_answer_may_come_any_more(build: Callable[..., SmallRun], tmp_path: Any) -> None:
    run = build()
    run.advance()
    for teacher in "abc":
        run.answer(teacher)
    run.advance()
    assert waiting(run) == 0, "the answers of d are still on their way"
    run.answer("d", limit=3)
    run.advance()
    assert waiting(run) == 3 * 4
    run.kill("teacher.d", "server_error")
    run.advance()
    assert waiting(run) == 3 * 4 + 3, "a dead job brings no answer"
    score(run, tmp_path)
    rows = run.rows(
        "SELECT x.value, x.detail ->> 'voted' AS voted, count(*) AS n FROM score x GROUP BY 1, 2 ORDER BY 3"
    )
    assert [tuple(row) for row in rows] == [(1.0, "2", 3), (1.0, "3", 12)]
    assert run.violations() == {}


def test_what_comes_late_changes_no_verdict_and_is_heard_before_the_next(
    build: Callable[..., SmallRun], tmp_path: Any
) -> None:
    run = build("d", policy="strong", reroute="off")
    for _ in range(3):  # the calibration answers, their scores, the job that routes
        run.advance()
        for teacher in "abcd":
            run.answer(teacher)
        score(run, tmp_path)
    run.route()
    run.advance()
    run.answer("a")  # SmallRun routes to the first teacher; its opinion dies
    assert run.kill("teacher.d", "server_error") == 4
    run.advance()
    assert waiting(run) == 4
    score(run, tmp_path)
    died = run.rows("SELECT DISTINCT error_code FROM job WHERE queue = :q AND state = 'dead'", q=QUEUE)
    assert [row.error_code for row in died] == ["nobody_to_compare"]
    assert run.advance().finished

    retry(run.engine, Filter(run_id=run.id))
    score(run, tmp_path)  # the opinion was revived with the score, and has not come yet
    held = run.rows("SELECT DISTINCT e.error_code FROM job_event e JOIN job j ON j.id = e.job_id"
                    " WHERE j.queue = :q AND e.event = 'retried'", q=QUEUE)  # fmt: skip
    assert [row.error_code for row in held] == ["vote_awaited"]
    run.answer("d")
    with run.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE job SET not_before = clock_timestamp()")
    score(run, tmp_path)
    assert run.rows("SELECT FROM job WHERE state <> 'done'") == []
    assert run.violations() == {}


def test_a_pools_verdict_is_not_taken_for_another_pools(build: Callable[..., SmallRun], tmp_path: Any) -> None:
    first = build()
    first.advance()
    for teacher in "abcd":
        first.answer(teacher)
    first.advance()
    score(first, tmp_path)
    raw = first.config.model_dump(mode="json") | {"name": "fewer", "teachers": TEACHERS[:3]}
    second = first.create(parse_run(raw, source="test"), Stage.SCORE)
    pipeline.advance(first.engine, second)
    (jobs,) = first.rows("SELECT count(*) AS n, min(kind) AS kind FROM job WHERE run_id = :r", r=second)
    assert (jobs.n, jobs.kind) == (4 * 3, "score"), "answers are reused, verdicts are found anew"
    score(first, tmp_path)
    voted = first.rows("""
        SELECT rs.run_id, x.detail ->> 'voted' AS voted, count(*) AS n FROM score x
        JOIN run_scorer rs ON rs.scorer_id = x.scorer_id GROUP BY 1, 2 ORDER BY 1""")
    assert [(row.voted, row.n) for row in voted] == [("3", 16), ("2", 12)]
    assert first.violations() == {}


def test_a_run_that_goes_by_anothers_router_goes_by_its_verdicts(build: Callable[..., SmallRun]) -> None:
    run = build("d", policy="persyn", reroute="off")
    with run.engine.begin() as conn:
        jobs.enqueue_stage(conn, run.id, "train_router", "router", Stage.TRAIN)
        lease_id, (claim,) = run.claim(conn, "router")
        jobs.complete(conn, lease_id, [claim.id])
        conn.execute(
            text("""
            INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path,
                                artifact_sha256, metrics, code_version, job_id, lease_id)
            SELECT :run, 'b', array_agg(teacher_id ORDER BY position), 0, 'minmax', 0, 'p', repeat('0', 64), '{}', '0',
                   :job, :lease FROM run_teacher WHERE run_id = :run"""),
            {"run": run.id, "job": claim.id, "lease": lease_id},
        )
    raw = run.config.model_dump(mode="json")
    raw |= {"name": "borrows", "router": raw["router"] | {"of": "small"}}
    borrows = run.create(parse_run(raw, source="test"))
    alone = run.create(parse_run(raw | {"name": "alone", "router": {}}, source="test"))
    rows = run.rows("SELECT run_id, scorer_id FROM run_scorer")
    scorer = {row.run_id: row.scorer_id for row in rows}
    assert scorer[borrows] == scorer[run.id] != scorer[alone]
