"""The template must be a valid run, show every key with its true default, and never overwrite a file unasked."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from persyn.cli.init import write_template
from persyn.cli.main import app
from persyn.config import Endpoint, RunConfig, Scorers, Server, Student, StudentTraining, Teacher, load_run
from persyn.errors import ConfigError

TEMPLATES = Path(__file__).parents[3] / "persyn" / "cli" / "templates"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    write_template(path, force=False)
    return path


def test_the_template_is_a_valid_run(written: Path) -> None:
    assert load_run(written).policy == "persyn"


def test_every_value_that_has_a_default_is_shown_as_that_default(written: Path) -> None:
    raw = yaml.safe_load(written.read_text())
    config = load_run(written)
    bare = {key: raw[key] for key in ("name", "prompts", "teachers")}
    bare["student"] = {key: raw["student"][key] for key in ("name", "model", "family")}
    bare["teachers"] = [{key: t[key] for key in ("name", "family", "params_b", "model")} for t in raw["teachers"]]
    assert RunConfig.model_validate(bare) == config


@pytest.mark.parametrize("model", [RunConfig, Student, StudentTraining, Teacher, Server, Endpoint])
def test_every_key_is_in_the_template(model: type[BaseModel], written: Path) -> None:
    text = written.read_text()
    for key in model.model_fields:
        assert re.search(rf"^[#\s-]*{key}:", text, re.MULTILINE), key


@pytest.mark.parametrize("key", ["scorers", "calibration", "router", "export"])
def test_nested_sections_are_complete(key: str, written: Path) -> None:
    shown: dict[str, Any] = yaml.safe_load(written.read_text())[key]
    assert set(shown) == set(RunConfig.model_fields[key].annotation.model_fields)  # type: ignore[union-attr]


def test_the_training_that_is_commented_out_is_the_default(written: Path) -> None:
    block = re.search(r"^  # training:.*\n(  #   .*\n)+", written.read_text(), re.MULTILINE)
    assert block
    shown = yaml.safe_load(re.sub("^  # ", "", block[0], flags=re.MULTILINE))["training"]
    assert StudentTraining.model_validate(shown) == StudentTraining()


def test_the_scorers_that_are_commented_out_are_every_kind_and_valid(written: Path) -> None:
    shown: dict[str, Any] = {}
    for key in ("quality", "learnability"):
        block = re.search(rf"^  # {key}:.*\n(  # .*\n)+", written.read_text(), re.MULTILINE)
        assert block
        shown |= yaml.safe_load(re.sub("^  # ", "", block[0], flags=re.MULTILINE))
    scorers = Scorers.model_validate(shown)
    assert [scorer.kind for scorer in scorers.quality] == [
        "math_verify", "consensus", "reward_model", "judge", "imported",
    ]  # fmt: skip
    assert [scorer.kind for scorer in scorers.learnability] == [
        "loglik", "ifd", "rank_surprisal", "scas", "lark", "local_naturalness",
    ]  # fmt: skip


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        write_template(path, force=False)
    assert path.read_text() == "mine"


def test_force_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("mine")
    write_template(path, force=True)
    assert load_run(path).name == "my-run"


def test_a_missing_folder_is_an_error_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        write_template(tmp_path / "nowhere" / "run.yaml", force=False)


def test_the_quickstart_is_a_valid_run_of_three_teachers_on_one_model() -> None:
    config = load_run(TEMPLATES / "quickstart.yaml")
    assert [teacher.name for teacher in config.teachers] == ["direct", "step-by-step", "few-shot"]
    first = config.teachers[0]
    assert all((teacher.model, teacher.server) == (first.model, first.server) for teacher in config.teachers)


def test_the_schema_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    done = CliRunner().invoke(app, ["init", str(path)])
    assert done.exit_code == 0, done.output
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((tmp_path / named).read_text())["title"] == "A run of PerSyn"
    assert load_run(path).name == "my-run"


def test_the_schema_alone_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "--schema"])
    assert "teachers" in json.loads(done.output)["properties"]
    assert list(tmp_path.iterdir()) == []
