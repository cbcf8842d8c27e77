"""The JSON Schema takes what a run takes, refuses what it refuses, and explains its keys."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from persyn.config import load_run, parse_run
from persyn.config.schema import json_schema
from persyn.errors import ConfigError

ROOT = Path(__file__).parents[3]
SCHEMA = json_schema()
RUN: dict[str, Any] = {
    "name": "r", "prompts": "s", "student": {"name": "p", "model": "m"},
    "teachers": [{"name": name, "family": "f", "model": "m"} for name in ("a", "b")],
}  # fmt: skip


def problems(raw: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(raw)]


def test_it_is_a_schema_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "persyn" / "cli" / "templates").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_yaml_that_persyn_writes_is_taken(path: Path) -> None:
    load_run(path)
    assert problems(yaml.safe_load(path.read_text())) == []


def parts() -> list[tuple[str, Any]]:
    """The YAML in the pages that is a part of a run, or of one of its teachers."""
    pages = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    fence = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
    found = [(page.name, yaml.safe_load(text)) for page in pages for text in fence.findall(page.read_text())]
    teacher, run = SCHEMA["$defs"]["Teacher"]["properties"], SCHEMA["properties"]
    of_a_teacher = [
        (name, {"teachers": [shown]}) for name, shown in found if shown.keys() & (teacher.keys() - run.keys())
    ]
    return of_a_teacher + [(name, shown) for name, shown in found if shown.keys() & (run.keys() - teacher.keys())]


@pytest.mark.parametrize(("page", "shown"), parts())
def test_every_yaml_that_the_pages_show_is_taken(page: str, shown: dict[str, Any]) -> None:
    if "teachers" in shown:
        shown = shown | {"teachers": [RUN["teachers"][0] | teacher for teacher in [*shown["teachers"], {}]]}
    assert problems(RUN | shown) == [], page


@pytest.mark.parametrize(
    "change",
    [
        {"scorers": {"quality": {"kind": "math_verify"}, "learnability": [{"kind": "ifd"}, {"kind": "loglik"}]}},
        {"policy": "budgeted", "policy_options": {"budget": {"a": {"share": 0.3}}}},
        {"router": {"preset": "paper"}},
    ],
)
def test_other_forms_of_a_run_are_taken(change: dict[str, Any]) -> None:
    parse_run(RUN | change, source="run.yaml")
    assert problems(RUN | change) == []


@pytest.mark.parametrize(
    "change",
    [{"alhpa": 1}, {"alpha": 2}, {"name": "my run"}, {"scorers": {"quality": {"kind": "gpt4"}}}, {"policy": "best"}],
)
def test_a_mistake_is_marked(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_run(RUN | change, source="run.yaml")
    assert problems(RUN | change) != []


def test_every_key_of_a_run_and_of_the_router_is_explained() -> None:
    sections = {
        "run": SCHEMA,
        **{name: SCHEMA["$defs"][name] for name in ("Router", "Calibration", "Preferences", "Scorers")},
    }
    silent = {
        f"{name}.{key}"
        for name, section in sections.items()
        for key, shown in section["properties"].items()
        if "description" not in shown and "$ref" not in shown
    }
    assert silent == set()
    assert all("title" in shown or "$ref" in shown for shown in SCHEMA["properties"].values())
