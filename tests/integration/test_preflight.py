"""A run is checked before anything is spent: set, models, keys, endpoints; and nothing of it stays in the tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import Engine, text

from persyn import jobs, preflight, runs
from persyn.config import Settings, parse_run
from persyn.imports.prompts import import_prompts
from persyn.inference.servers.server import Server
from persyn.preflight.endpoints import ANSWER_TOKENS
from persyn.stages import calibrate, generate
from tests.conftest import Asked, ScriptedServer

KEY = "a-key-of-this-test"
TABLES = ("run", "teacher", "student", "scorer", "calibration_prompt", "job", "generation")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A model's files, which nothing here loads."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text("{}")
    return str(model)


@pytest.fixture
def prompts(engine: Engine, tmp_path: Path) -> int:
    """Ten prompts in the set `sums`."""
    lines = [{"prompt": f"What is {n} + 1?", "reference_answer": str(n + 1)} for n in range(10)]
    source = tmp_path / "sums.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return import_prompts(engine, "sums", [str(source)]).imported


class Desk:
    """A run of two teachers, one behind the stub and one behind a scripted server, and its check."""

    def __init__(self, engine: Engine, home: Path, model: str, stub: Server, scripted: ScriptedServer) -> None:
        self.engine, self.scripted = engine, scripted
        self.settings = Settings(home, "postgresql://elsewhere", None)
        self.raw: dict[str, Any] = {
            "name": "night", "prompts": "sums", "student": {"name": "pupil", "model": model},
            "teachers": [
                {"name": "steady", "family": "f", "model": "stub-model", "endpoint": {"url": stub.base_url}},
                {"name": "other", "family": "f", "model": "m", "endpoint": {"url": f"{scripted.url}/v1"}},
            ],
            "calibration": {"size": 4},
            "router": {"backbone": model},
        }  # fmt: skip
        scripted.says("four")

    def other(self, **changes: Any) -> None:
        self.raw["teachers"][1] |= changes

    def check(self, **options: bool) -> preflight.Report:
        config = parse_run(self.raw, source="run.yaml")
        return preflight.check(self.engine, config, self.settings, **({"with_worker": False} | options))

    def wrong(self) -> tuple[str, str]:
        """The one thing that is wrong: its key path and the sentence."""
        (finding,) = self.check().wrong
        return finding.about, finding.told

    def rows(self) -> dict[str, int]:
        with self.engine.connect() as conn:
            return {table: conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES}


@pytest.fixture
def desk(
    engine: Engine, tmp_path: Path, folder: str, teacher_stub: Server, scripted: ScriptedServer, prompts: int
) -> Desk:
    return Desk(engine, tmp_path, folder, teacher_stub, scripted)


def test_a_measure_that_the_student_lacks_the_layer_for_is_told_before_anything_is_spent(
    desk: Desk, folder: str
) -> None:
    save_file({"transformer.h.0.mlp.c_fc.weight": np.zeros(1, np.float32)}, Path(folder) / "model.safetensors")
    desk.raw["scorers"] = {"learnability": [{"kind": "loglik"}, {"kind": "scas"}]}
    about, told = desk.wrong()
    assert about == "scorers.learnability[1]"
    assert "mlp.up_proj" in told
    desk.raw["scorers"]["learnability"][1]["weight"] = 0.0
    assert desk.check().wrong == []


def test_a_store_that_cannot_be_written_is_wrong_and_its_password_is_not_shown(desk: Desk) -> None:
    desk.settings = desk.settings._replace(artifacts_url="ftp://me:sesame-open-7f3a@127.0.0.1:1/x")
    about, told = desk.wrong()
    assert (about, told.partition(":1/x) ")[0]) == ("router", "PERSYN_ARTIFACTS_URL (ftp://***@127.0.0.1")
    assert "sesame" not in told
    desk.raw["policy"] = "random"  # no router, nothing to store
    assert desk.check().wrong == []


def test_a_trained_backbone_that_could_stay_on_one_host_is_told_and_is_no_mistake(desk: Desk, tmp_path: Path) -> None:
    desk.raw["router"]["freeze_backbone"] = False
    told = [finding.told for finding in desk.check().findings if finding.about == "router.freeze_backbone"]
    assert told == [
        "a trained backbone above 64 MiB stays on the host that trained it, and no other host can route with it, unless"
        " PERSYN_ARTIFACTS_URL names a folder that all hosts reach."
    ]
    desk.settings = desk.settings._replace(artifacts_url=f"file://{tmp_path}")
    assert [finding for finding in desk.check().findings if finding.about.startswith("router")] == []


def test_a_run_that_is_right_is_estimated_and_leaves_no_row(desk: Desk) -> None:
    before = desk.rows()
    report = desk.check()
    assert report.wrong == []
    assert report.answered == ["teacher steady", "teacher other"]
    assert [(stage.stage, stage.new) for stage in report.stages] == [
        ("calibrate", 2 * 4), ("score", 2 * 4 * 2), ("generate", 10 - 4), ("score routed", (10 - 4) * 2),
        ("reroute", (10 - 4) // 2), ("score rerouted", (10 - 4) // 2 * 2),
    ]  # fmt: skip
    assert report.verdict().startswith("night can start: 17 answers to ask for, where all teachers on all prompts")
    assert desk.rows() == before
    assert json.loads(json.dumps(report.as_json()))["ok"] is True


def test_each_endpoint_is_asked_once_as_the_run_would_ask_it_but_for_a_short_answer(desk: Desk) -> None:
    desk.other(system_prompt="Be brief.", sampling={"temperature": 0.5, "top_p": 0.9, "max_tokens": 300})
    desk.check()
    (asked,) = desk.scripted.asked
    assert asked.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (asked.body["temperature"], asked.body["top_p"], asked.body["max_tokens"]) == (0.5, 0.9, ANSWER_TOKENS)


def test_a_parameter_that_a_teacher_refuses_is_told_in_the_servers_words(desk: Desk) -> None:
    desk.scripted.refuses(400, "Unsupported parameter: 'top_p' is not supported with this model.")
    about, told = desk.wrong()
    assert about == "teachers[1].sampling"
    assert "Unsupported parameter: 'top_p'" in told


def test_a_misspelt_model_is_told_with_those_that_the_endpoint_serves(desk: Desk) -> None:
    desk.raw["teachers"][0]["model"] = "stub-modell"
    about, told = desk.wrong()
    assert about == "teachers[0].model"
    assert "Did you mean stub-model? It serves stub-model." in told


def test_an_endpoint_that_is_down_is_told_with_its_address(desk: Desk) -> None:
    desk.other(endpoint={"url": "http://127.0.0.1:9/v1"})  # the discard port, where nothing listens
    about, told = desk.wrong()
    assert about == "teachers[1].endpoint"
    assert "http://127.0.0.1:9" in told


def test_a_key_that_is_not_set_is_told_with_the_worker_that_needs_it(desk: Desk) -> None:
    desk.other(endpoint={"url": desk.scripted.url, "api_key_env": "NO_SUCH_KEY"})
    about, told = desk.wrong()
    assert about == "teachers[1].endpoint.api_key_env"
    assert "NO_SUCH_KEY is not set on this host" in told
    assert "`persyn worker --teachers other` needs it" in told
    assert desk.scripted.asked == []


def test_a_key_that_no_server_can_be_sent_is_told_without_its_text(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "“typographic-quotes”")
    desk.other(endpoint={"url": desk.scripted.url, "api_key_env": "SOME_KEY"})
    about, told = desk.wrong()
    assert about == "teachers[1].endpoint.api_key_env"
    assert "SOME_KEY holds characters that no key can have" in told
    assert "typographic" not in told


def test_a_key_that_is_missing_here_is_no_mistake_where_a_worker_runs_elsewhere(desk: Desk) -> None:
    desk.other(endpoint={"url": desk.scripted.url, "api_key_env": "NO_SUCH_KEY"})
    with desk.engine.begin() as conn:
        conn.execute(text("INSERT INTO worker (name, host, pid, queues) VALUES ('w', 'another-host', 1, '{}')"))
    report = desk.check()
    assert report.wrong == []
    assert [finding.about for finding in report.findings] == ["teachers[1].endpoint.api_key_env"]
    assert [finding.wrong for finding in desk.check(with_worker=True).findings] == [True]


def test_a_refused_key_stands_in_no_sentence(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    desk.other(endpoint={"url": desk.scripted.url, "api_key_env": "SOME_KEY"})
    desk.scripted.refuses(401, f"Incorrect API key provided: {KEY}")
    report = desk.check()
    assert "Correct the key in SOME_KEY." in report.wrong[0].told
    assert KEY not in json.dumps(report.as_json())


def test_a_reply_that_cannot_be_read_is_wrong(desk: Desk) -> None:
    desk.scripted.reply = lambda asked: (200, b"<html>", {})
    assert "JSON" in desk.wrong()[1]


def test_an_endpoint_that_takes_no_more_requests_now_is_there(desk: Desk) -> None:
    desk.scripted.refuses(429, "slow down")
    report = desk.check()
    assert report.wrong == []
    assert "takes no more requests now" in report.findings[0].told


def test_a_judge_and_a_reward_server_are_asked_too(desk: Desk) -> None:
    endpoint = {"url": desk.scripted.url}
    desk.raw["scorers"] = {
        "quality": [
            {"kind": "judge", "model": "j", "endpoint": endpoint},
            {"kind": "reward_model", "model": desk.raw["student"]["model"], "endpoint": endpoint},
        ]
    }

    def reply(asked: Asked) -> tuple[int, Any, dict[str, str]]:
        if asked.path == "/classify":
            return 200, {"data": [{"probs": [0.5, 0.5]}]}, {}
        content = "no verdict" if asked.body["model"] == "j" else "four"
        return 200, {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}, {}

    desk.scripted.reply = reply
    told = [(finding.about, finding.told) for finding in desk.check().wrong]
    assert [about for about, _ in told] == ["scorers.quality.endpoint", "scorers.quality.endpoint"]
    assert "no verdict" in told[0][1]
    assert "2 numbers" in told[1][1]


def test_a_student_that_does_not_exist_is_told_before_any_teacher_is_asked(desk: Desk) -> None:
    for model, sentence in (("bundled:no-such", "no bundled model"), ("/no/such/folder", "no such folder")):
        desk.raw["student"]["model"] = model
        about, told = desk.wrong()
        assert about == "student.model"
        assert sentence in told
    assert desk.scripted.asked == []


def test_a_set_that_does_not_exist_is_told_with_how_to_make_it(desk: Desk) -> None:
    desk.raw["prompts"] = "summs"
    report = desk.check()
    assert [finding.about for finding in report.wrong] == ["prompts"]
    assert "persyn prompts import" in report.wrong[0].told
    assert report.wrong[0].told.endswith("Did you mean the set sums?")
    assert (report.prompts, report.stages) == (None, [])


def test_a_calibration_as_large_as_the_set_is_told_because_it_saves_nothing(desk: Desk) -> None:
    desk.raw["calibration"] = {"size": 5000}
    report = desk.check()
    assert report.wrong == []
    (finding,) = report.findings
    assert finding.about == "calibration.size"
    assert "5000 covers all 10 prompts" in finding.told
    assert "20 answers, and routing saves none" in finding.told
    assert report.answers == 20


def test_prompts_without_a_reference_answer_are_counted(desk: Desk) -> None:
    with desk.engine.begin() as conn:
        conn.execute(text("UPDATE prompt SET reference_answer = NULL WHERE position < 3"))
    (finding,) = desk.check().findings
    assert finding.told.startswith("3 of 10 prompts have no reference_answer")


def test_answers_that_are_there_are_not_counted_again_and_give_the_means(desk: Desk) -> None:
    desk.other(endpoint={"url": desk.scripted.url, "price": {"input": 1.0, "output": 10.0}})
    config = parse_run(desk.raw | {"name": "earlier"}, source="run.yaml")
    with desk.engine.begin() as conn:
        run_id = runs.create(conn, config)
        set_id = runs.load(conn, run_id).prompt_set_id
        calibrate.select(conn, run_id, prompt_set_id=set_id, size=4, validation=0.2, seed=config.seed)
        calibrate.enqueue(conn, run_id)
        lease_id = jobs.open_lease(conn, worker="w", host="h", queue="teacher.other", ttl_s=60)
        claims = jobs.claim(conn, lease_id, "teacher.other", 10)
        requests = [generate.GenerationRequest(claim, [], 0) for claim in claims]
        answers = [generate.NewGeneration(request, "x", None, "stop", 100, 50, 36.0, None) for request in requests]
        assert generate.store(conn, lease_id, answers) == 4
    first, _, later, *_ = desk.check().stages
    assert (first.new, first.there, first.cost) == (4, 4, 0)
    assert (later.new, later.there) == (6, 0)
    assert later.cost == pytest.approx(3 * (100 * 1.0 + 50 * 10.0) / 1e6)
    told = " ".join(desk.check().assumptions)
    assert "Tokens and time of other are the means of earlier answers." in told


def test_teachers_without_a_model_are_not_asked(desk: Desk) -> None:
    desk.raw["teachers"][1] = {"name": "other", "family": "f"}
    report = desk.check()
    assert (report.answered, report.stages[0].new) == (["teacher steady"], 4)
    assert [finding.about for finding in report.findings] == ["teachers[1].model"]


def test_the_workers_needs_are_named(desk: Desk) -> None:
    desk.other(endpoint={"url": desk.scripted.url, "api_key_env": "NO_SUCH_KEY"})
    model = desk.raw["student"]["model"]
    assert [tuple(need) for need in desk.check().needs] == [
        ("--teachers other", "NO_SUCH_KEY in its environment"),
        ("--scorers", f"the model {model}"),
        ("--router", f"the model {model}"),
    ]


def test_a_teacher_that_takes_tools_is_asked_with_one(desk: Desk) -> None:
    desk.other(tools=True)
    assert desk.check().wrong == []
    assert [tool["function"]["name"] for tool in desk.scripted.asked[0].body["tools"]] == ["add"]


def test_a_server_that_refuses_tools_is_told(desk: Desk) -> None:
    desk.other(tools=True)
    desk.scripted.refuses(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    about, told = desk.wrong()
    assert about == "teachers[1].tools"
    assert told.startswith("it refuses a request with tools")
    assert "--enable-auto-tool-choice" in told


def test_vllm_without_a_parser_and_a_student_without_tools_are_told_before_anything_is_spent(
    desk: Desk, engine: Engine, folder: str, tmp_path: Path
) -> None:
    tool = {"name": "add", "parameters": {"type": "object", "properties": {}}}
    source = tmp_path / "tools.jsonl"
    source.write_text(
        "".join(json.dumps({"prompt": f"{n}?", "tools": [tool], "reference_answer": "1"}) + "\n" for n in range(4))
    )
    import_prompts(engine, "with-tools", [str(source)])
    desk.raw |= {"prompts": "with-tools", "policy": "random"}
    for teacher in desk.raw["teachers"]:
        teacher["tools"] = True
    served = {"name": "served", "family": "f", "model": folder, "tools": True, "server": {"kind": "vllm"}}
    desk.raw["teachers"].append(served)
    (Path(folder) / "chat_template.jinja").write_text("{{ messages[0].content }}")
    found = {finding.about: finding.told for finding in desk.check().wrong}
    assert "--tool-call-parser, PARSER]" in found["teachers[2].server.args"]
    assert found["student.model"].startswith("its chat template knows no tools, so answers to 4 of 4 prompts")
    assert desk.scripted.asked == []

    served["server"] = {"kind": "vllm", "args": ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]}
    (Path(folder) / "chat_template.jinja").write_text("{% if tools %}{% endif %}")
    assert desk.check().wrong == []
