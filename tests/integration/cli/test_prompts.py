"""`persyn prompts` as a user runs it, against a real Postgres."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from persyn.cli.prompts import app
from persyn.errors import ConfigError, InputError
from persyn.imports.prompt_sets import list_sets
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
    assert first.stdout == (
        "80 of 80 prompts imported into arithmetic; 0 were there already, 0 refused.\n"
        "Shape prompt (80): id, prompt, reference_answer.\n"
    )
    again = run("import", source, "--set", "arithmetic")
    assert again.stdout.startswith("0 of 80 prompts imported into arithmetic; 80 were there already, 0 refused.\n")
    assert again.exit_code == 0
    assert [(info.prompts, info.with_reference_answer) for info in list_sets(engine)] == [(80, 80)]


def test_refused_lines_are_told_and_do_not_fail_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "1+1?"}\n{broken\n')
    result = run("import", str(tmp_path / "a.jsonl"), "--set", "math", "--map", "prompt=question")
    assert result.exit_code == 0
    assert "1 of 2 prompts imported into math; 0 were there already, 1 refused." in result.stdout
    assert str(tmp_path / "a.jsonl.rejects") in result.stdout
    assert "The first: " in result.stdout


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
        "repeated": 0,
        "rejected": 1,
        "rejects_path": str(rejects),
        "shapes": [{"shape": "prompt", "prompts": 1, "answers": 0, "fields": {"prompt": "prompt"}}],
        "notes": [],
        "first_reason": "stdin, line 2: longer than 20 bytes",
        "columns": ["prompt"],
    }


def test_an_import_of_which_nothing_came_ends_with_one_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"query": "1+1?", "level": 1}\n' * 3)
    result = run("import", str(tmp_path / "a.jsonl"), "--set", "math")
    assert result.return_value == 1
    assert "no prompt came of 3 records" in result.stderr
    assert "try --map prompt=query. The columns are query, level." in result.stderr
    (tmp_path / "b.jsonl").write_text("\n")
    empty = run("import", str(tmp_path / "b.jsonl"), "--set", "math")
    assert (empty.return_value, empty.stderr) == (1, "persyn: the files hold no record.\n")


def test_the_shape_and_the_answers_that_were_left_out_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "Say", "input": "hi", "output": "hi"}\n' * 2)
    result = run("import", str(tmp_path / "a.jsonl"), "--set", "math")
    assert result.stdout.splitlines() == [
        "1 of 2 prompts imported into math; 0 were there already, 1 repeated in the file, 0 refused.",
        "Shape alpaca (2): prompt from instruction, then input.",
        "2 came with answers, which are no part of a prompt. `persyn generations import` reads them from the same"
        " file.",
    ]


def test_a_stored_prompt_is_corrected_and_shown(tmp_path: Path) -> None:
    run("import", "-", "--set", "math", input='{"id": "p", "prompt": "6*7?", "reference_answer": 41}\n')
    told = run("update", "-", "--set", "math", input='{"id": "p", "reference_answer": 42, "level": 1}\n')
    assert told.stdout == "1 prompts of math corrected; 0 were so already, 0 refused.\n"
    for command in (("show", "math", "p"), ("head", "math", "-n", "1")):
        [shown] = json.loads(run(*command, "--json").stdout)
        assert (shown["reference_answer"], shown["meta"]) == ("42", {"level": 1})
    assert "6*7?" in run("show", "math", "p").stdout
    nothing = run("update", "-", "--set", "math", input='{"id": "q", "reference_answer": 42}\n')
    assert (nothing.return_value, "the set has no such prompt" in nothing.stderr) == (1, True)


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
