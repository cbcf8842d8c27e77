"""`persyn prompts` as a user runs it, against a real Postgres."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from persyn.cli.prompts import app
from persyn.errors import ConfigError, InputError
from persyn.imports.prompts import list_sets
from persyn.services import Endpoints

TEMPLATES = Path(__file__).parents[3] / "persyn" / "cli" / "templates"


@pytest.fixture(autouse=True)
def _these_services(database_url: str, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSYN_DATABASE_URL", database_url)
    monkeypatch.setenv("PERSYN_BROKER_URL", endpoints.broker_url)


def run(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=input, catch_exceptions=False, standalone_mode=False)


def test_the_quickstarts_prompts_are_imported_whole_and_once(engine: Engine) -> None:
    source = str(TEMPLATES / "arithmetic.jsonl")
    first = run("import", source, "--set", "arithmetic")
    assert first.stdout == "80 of 80 prompts imported into arithmetic; 0 were there already, 0 refused.\n"
    again = run("import", source, "--set", "arithmetic")
    assert again.stdout == "0 of 80 prompts imported into arithmetic; 80 were there already, 0 refused.\n"
    assert [(info.prompts, info.with_reference_answer) for info in list_sets(engine)] == [(80, 80)]


def test_refused_lines_are_told_and_do_not_fail_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "1+1?"}\n{broken\n')
    result = run("import", str(tmp_path / "a.jsonl"), "--set", "math", "--map", "prompt=question")
    assert result.exit_code == 0
    assert "1 of 2 prompts imported into math; 0 were there already, 1 refused." in result.stdout
    assert str(tmp_path / "a.jsonl.rejects.jsonl") in result.stdout


def test_the_report_comes_as_json(tmp_path: Path) -> None:
    rejects = tmp_path / "bad.jsonl"
    options = ("--set", "math", "--json", "--rejects", str(rejects), "--max-bytes", "20")
    result = run("import", "-", *options, input='{"prompt": "a"}\n{"prompt": "much too long"}\n')
    report = json.loads(result.stdout)
    assert report.pop("set_id") > 0
    assert report == {
        "set": "math",
        "read": 2,
        "imported": 1,
        "duplicates": 0,
        "rejected": 1,
        "rejects_path": str(rejects),
    }


def test_strict_is_an_error_with_exit_code_two(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n{broken\n')
    with pytest.raises(InputError, match="nothing was imported") as refused:
        run("import", str(tmp_path / "a.jsonl"), "--set", "math", "--strict")
    assert refused.value.exit_code == 2
    assert list_sets(engine) == []


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="--format xml"):
        run("import", "-", "--set", "math", "--format", "xml")


def test_sets_are_listed_as_a_table_and_as_json() -> None:
    assert "no prompt sets" in run("list").stdout
    run("import", "-", "--set", "math", input='{"prompt": "a"}\n')
    header, row = run("list").stdout.splitlines()
    assert header.split() == ["NAME", "PROMPTS", "WITH", "ANSWER", "CREATED"]
    assert row.split()[:3] == ["math", "1", "0"]
    [info] = json.loads(run("list", "--json").stdout)
    assert (info["name"], info["prompts"]) == ("math", 1)
