"""The HTTP API over a real database: every route, errors, and texts that mean harm elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from persyn import runs
from persyn.api import database
from persyn.api.app import app
from persyn.cli import context, main
from persyn.config import parse_run
from persyn.db import session
from persyn.imports.prompts import import_prompts
from persyn.services import Endpoints
from persyn.stages import pipeline
from persyn.states import Stage

HARMFUL = "<script>alert('x')</script> \x1b[31mred\x1b[0m \x07 [bold]loud[/bold] :smile:"


@pytest.fixture
def run_id(engine: Engine, tmp_path: Path) -> int:
    """A run of four prompts, one of them harmful, with its calibration jobs waiting."""
    texts = [HARMFUL, "one", "two", "three"]
    source = tmp_path / "prompts.jsonl"
    lines = [{"id": f"p{number}", "prompt": words, "reference_answer": "1"} for number, words in enumerate(texts)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_prompts(engine, "set", [str(source)])
    teacher = {"family": "f", "params_b": 1, "model": "m"}
    config = {
        "name": "first", "prompts": "set", "student": {"name": "pupil", "model": "m"},
        "teachers": [{"name": "small"} | teacher, {"name": "large"} | teacher],
        "calibration": {"size": 4},
    }  # fmt: skip
    with engine.begin() as conn:
        created = runs.create(conn, parse_run(config, source="test"))
        runs.aim(conn, created, Stage.CALIBRATE)
    pipeline.advance(engine, created)
    return created


@pytest.fixture
def client(database_url: str, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("PERSYN_DATABASE_URL", database_url)
    monkeypatch.setenv("PERSYN_BROKER_URL", endpoints.broker_url)
    with TestClient(app) as client:
        yield client


def get(client: TestClient, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def test_health_is_good_while_the_database_answers(client: TestClient) -> None:
    assert get(client, "/health") == {"status": "ok"}


def test_an_absence_of_postgres_is_503_with_its_reason(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = session.connect("postgresql://persyn:secret@127.0.0.1:1/persyn")
    monkeypatch.setattr(app.state, "engine", nowhere)
    for path in ("/health", "/metrics", "/runs"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.json()["error"].startswith("Postgres does not answer: ")
        assert "secret" not in response.text
    nowhere.dispose()


def test_an_api_that_starts_before_its_database_answers_503_until_it_is_there(
    database_url: str, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSYN_BROKER_URL", endpoints.broker_url)
    monkeypatch.setenv("PERSYN_DATABASE_URL", "postgresql://persyn:secret@127.0.0.1:1/persyn")
    with TestClient(app) as client:
        for path in ("/health", "/metrics", "/runs/x/prompts/y"):
            response = client.get(path)
            assert response.status_code == 503
            assert response.json()["error"].startswith("Postgres cannot be reached: ")
            assert "secret" not in response.text
        monkeypatch.setenv("PERSYN_DATABASE_URL", database_url)
        assert get(client, "/health") == {"status": "ok"}


def test_a_database_whose_tables_went_away_is_503_with_what_to_do(client: TestClient, engine: Engine) -> None:
    assert get(client, "/health") == {"status": "ok"}
    with engine.begin() as conn:
        conn.execute(text("DROP SCHEMA audit CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    response = client.get("/runs")
    assert response.status_code == 503
    assert response.json()["error"].endswith("Run `persyn db upgrade`.")


def test_a_question_to_an_application_that_nobody_started_is_answered(
    database_url: str, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSYN_DATABASE_URL", database_url)
    monkeypatch.setenv("PERSYN_BROKER_URL", endpoints.broker_url)
    assert get(TestClient(app), "/health") == {"status": "ok"}
    database.close(app)


def test_runs_are_listed_and_shown_by_name_and_by_number(client: TestClient, run_id: int) -> None:
    (listed,) = get(client, "/runs")
    assert (listed["id"], listed["name"], listed["prompt_set"], listed["student"]) == (run_id, "first", "set", "pupil")
    shown = get(client, "/runs/first")
    assert shown == get(client, f"/runs/{run_id}")
    assert (shown["prompts"], shown["decided"], shown["finished_at"]) == (4, 0, None)
    assert (listed["state"], shown["state"]) == ("waiting", "waiting")
    assert shown["waiting_for"][0].startswith("8 jobs wait, and no worker runs")
    (stage,) = shown["stages"]
    assert (stage["stage"], stage["total"], stage["ready"]) == ("calibrate", 8, 8)


def test_a_prompt_is_shown_with_its_exact_text_and_its_trail(client: TestClient, run_id: int) -> None:
    shown = get(client, "/runs/first/prompts/p0")
    assert shown["messages"] == [{"role": "user", "content": HARMFUL}]
    assert [step["what"] for step in shown["trail"]] == ["imported", "calibration", "job enqueued", "job enqueued"]


def test_a_prompt_is_shown_as_the_command_shows_it(
    client: TestClient, engine: Engine, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "engine", lambda: engine)
    printed = json.loads(CliRunner().invoke(main.app, ["audit", "prompt", "first", "p0", "--json"]).stdout)
    shown = get(client, "/runs/first/prompts/p0")
    assert list(shown) == ["run_id", "prompt_id", "messages", "tools", "trail", "decision", "neighbours"]
    assert list(printed) == list(shown)[1:]
    assert [step["what"] for step in printed.pop("trail")] == [step["what"] for step in shown["trail"]]
    assert printed.items() <= shown.items()


@pytest.mark.parametrize("path", ["/runs/other", "/runs/first/prompts/p9", "/runs/99999999999999999999"])
def test_what_does_not_exist_is_404_and_a_sentence(client: TestClient, run_id: int, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert path.rpartition("/")[2] in response.json()["error"]


def test_a_name_with_a_nul_in_it_is_refused(client: TestClient, run_id: int) -> None:
    for path in ("/runs/%00", "/runs/first/prompts/p%00"):
        assert client.get(path).status_code == 422


def test_a_database_that_is_away_is_503_and_a_sentence(client: TestClient) -> None:
    client.app.state.engine = nowhere = session.connect("postgresql://persyn@127.0.0.1:1/persyn")  # type: ignore[attr-defined]
    for path in ("/health", "/metrics", "/runs"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.json()["error"].startswith("Postgres does not answer: connection failed")
    nowhere.dispose()


def test_nothing_can_be_changed(client: TestClient, run_id: int) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, "/runs/first").status_code == 405


def test_a_scrape_finds_the_jobs_of_the_fleet(client: TestClient, run_id: int) -> None:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    due = {sample.labels["queue"]: sample.value for sample in families["persyn_jobs_due"].samples}
    assert sum(due.values()) == 8
    assert sum(sample.value for sample in families["persyn_jobs"].samples if sample.labels["state"] == "ready") == 8
