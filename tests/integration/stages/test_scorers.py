"""A run whose quality comes from a reward model and a judge, through real workers to a trained router."""

import json
import re
from typing import Any

from persyn import runs
from persyn.config import parse_run
from persyn.stages import pipeline
from persyn.states import Stage

PROMPTS, CALIBRATION = 16, 8


def verdict(asked: Any) -> tuple[int, Any, dict[str, str]]:
    """A judge that gives each answer its own score by its length; its first reply is garbage, its key is checked."""
    if asked.headers.get("authorization") != "Bearer sk-secret":
        return 401, {"error": {"message": "wrong key"}}, {}
    answer = re.findall(r" answer to judge\n(.*?)\n>>>", asked.body["messages"][1]["content"], flags=re.DOTALL)
    content = json.dumps({"reason": "By its length.", "score": len(answer[0]) % 10 + 1})
    choices = [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]
    return 200, {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}, {}


def test_a_run_judged_by_a_reward_model_and_a_judge_trains_its_router(
    site: Any, scripted: Any, tiny_reward_model: str
) -> None:
    site.prepare(PROMPTS, CALIBRATION)
    replies = iter([(200, b"not a completion", {}), (429, {}, {"Retry-After": "0"})])
    scripted.reply = lambda asked: next(replies, None) or verdict(asked)
    site.environment["JUDGE_KEY"] = "sk-secret"
    quality = [
        {"kind": "reward_model", "model": tiny_reward_model, "max_length": 512, "weight": 0.5},
        {
            "kind": "judge", "model": "j", "weight": 0.5,
            "endpoint": {"url": f"{scripted.url}/v1", "api_key_env": "JUDGE_KEY"},
        },
    ]  # fmt: skip
    raw = json.loads(site.config_file.read_text()) | {"scorers": {"quality": quality}, "name": f"judged-{site.tag}"}
    with site.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(site.engine, run_id)
    site.start_worker("--all")
    site.follow(run_id)

    answers = CALIBRATION * site.TEACHERS + PROMPTS - CALIBRATION
    stored = site.rows("""
        SELECT s.method, count(*), count(DISTINCT x.value), min(x.value), max(x.value), min(rs.weight)
        FROM score x JOIN scorer s ON s.id = x.scorer_id JOIN run_scorer rs ON rs.scorer_id = s.id
        WHERE s.kind = 'quality' AND rs.run_id = :id GROUP BY s.method ORDER BY s.method""", id=run_id)  # fmt: skip
    judged, rewarded = stored
    assert (judged[0], judged[1], rewarded[0], rewarded[1]) == ("judge", answers, "reward_model", answers)
    assert 1 <= judged[3] < judged[4] <= 10, "the judge's own numbers, not normalised ones"
    assert rewarded[2] > answers / 2
    assert (judged[5], rewarded[5]) == (0.5, 0.5)
    details = site.rows("""
        SELECT x.detail FROM score x JOIN scorer s ON s.id = x.scorer_id WHERE s.method = 'judge'""")
    assert details[0][0] == {"reason": "By its length.", "prompt_tokens": 7, "completion_tokens": 3}
    assert site.scalar("SELECT count(*) FROM router") == 1
    basis = "SELECT count(*) FROM routing_decision WHERE run_id = :id AND basis = 'router'"
    assert site.scalar(basis, id=run_id) == PROMPTS - CALIBRATION
    retried = site.rows("SELECT error_code FROM job_event WHERE error_code IS NOT NULL ORDER BY error_code")
    assert retried == [("garbage",)], "a refusal for want of room is sat out, and costs no attempt"
    assert len(scripted.asked) == answers + 2
    assert site.violations() == {}
    everything = site.scalar("SELECT string_agg(to_jsonb(e)::text, '') FROM job_event e")
    assert "sk-secret" not in everything + (site.home / "worker.log").read_text()


def test_a_run_of_quality_alone_loads_no_student(site: Any, scripted: Any) -> None:
    site.prepare(PROMPTS, CALIBRATION)
    scripted.reply = verdict
    site.environment["JUDGE_KEY"] = "sk-secret"
    judge = {"kind": "judge", "model": "j", "endpoint": {"url": f"{scripted.url}/v1", "api_key_env": "JUDGE_KEY"}}
    raw = json.loads(site.config_file.read_text()) | {
        "scorers": {"quality": judge, "learnability": "none"}, "alpha": 0.0, "name": f"quality-{site.tag}",
        "student": {"name": "absent", "model": "/there/is/no/student"},
    }  # fmt: skip
    with site.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(site.engine, run_id)
    site.start_worker("--all")
    site.follow(run_id)
    assert (
        site.scalar("SELECT count(*) FROM score x JOIN scorer s ON s.id = x.scorer_id WHERE s.kind <> 'quality'") == 0
    )
    decided = "SELECT count(*) FROM routing_decision WHERE run_id = :id AND basis = 'router'"
    assert site.scalar(decided, id=run_id) == PROMPTS - CALIBRATION
    assert site.violations() == {}


def judged(site: Any, url: str, *beside: dict[str, Any], aim: Stage, **endpoint: Any) -> int:
    """A run whose quality a judge at this address gives, and others beside it, up to its scores or further."""
    judge = {"kind": "judge", "model": "j", "endpoint": {"url": f"{url}/v1", **endpoint}}
    scorers = {"quality": [judge, *beside]}
    raw = json.loads(site.config_file.read_text()) | {"scorers": scorers, "name": f"judged-{site.tag}"}
    with site.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, aim)
    pipeline.advance(site.engine, run_id)
    return run_id


def test_a_key_that_a_worker_lacks_is_told_in_one_sentence_and_costs_no_request_and_no_attempt(
    site: Any, scripted: Any
) -> None:
    site.prepare(4, 4)
    run_id = judged(site, scripted.url, aim=Stage.SCORE, api_key_env="JUDGE_KEY")
    site.start_worker("--all")
    lacks = "SELECT DISTINCT each ->> 'reason' FROM worker, jsonb_array_elements(unfit) AS each"

    def told() -> bool:
        pipeline.advance(site.engine, run_id)  # not to wait for the worker's next round
        return bool(site.rows(lacks))

    site.eventually(told)
    assert "the environment variable JUDGE_KEY" in site.scalar(lacks)
    assert scripted.asked == []
    assert site.scalar("SELECT max(attempt) FROM job WHERE queue = 'score.quality'") == 0
    scripted.reply = verdict
    site.environment["JUDGE_KEY"] = "sk-secret"
    site.start_worker("--scorers")
    site.follow(run_id)
    assert site.scalar("SELECT count(*) FROM job WHERE state <> 'done'") == 0
    assert site.violations() == {}


def test_a_judge_that_is_away_holds_its_own_scores_and_loses_none(site: Any, scripted: Any) -> None:
    site.prepare(6, 6)
    run_id = judged(site, scripted.url, {"kind": "math_verify"}, aim=Stage.TRAIN)
    away = True

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        key = {**asked.headers, "authorization": "Bearer sk-secret"}
        return (503, {"error": {"message": "restarting"}}, {}) if away else verdict(asked._replace(headers=key))

    scripted.reply = reply
    site.start_worker("--all")
    paused = "SELECT reason FROM queue_pause WHERE queue = 'score.quality' AND kind = 'worker'"

    def held() -> bool:
        pipeline.advance(site.engine, run_id)
        return bool(site.rows(paused))

    site.eventually(held)
    assert "restarting" in site.scalar(paused)
    of_judge = "FROM job j JOIN scorer s ON s.id = j.scorer_id WHERE s.method = 'judge'"
    site.eventually(lambda: site.scalar(f"SELECT count(*) {of_judge} AND attempt > 0") == 0)
    checked = "SELECT count(*) FROM score x JOIN scorer s ON s.id = x.scorer_id WHERE s.method = 'math_verify'"
    site.eventually(lambda: site.scalar(checked) == 18)
    assert site.scalar(f"SELECT count(*) {of_judge} AND state = 'done'") == 0
    away = False
    site.persyn("resume", "--queue", "score.quality")
    site.follow(run_id)
    assert site.scalar("SELECT count(*) FROM job WHERE state <> 'done'") == 0
    assert site.rows("SELECT * FROM job_event WHERE event IN ('retried', 'died')") == []
    assert site.scalar("SELECT count(*) FROM router WHERE run_id = :id", id=run_id) == 1
    assert site.violations() == {}
