"""When a run reroutes, and what its section `reroute` refuses, in which words."""

import json
from typing import Any

import pytest

from persyn.config import Reroute, RunConfig, parse_run
from persyn.errors import ConfigError

PRICED = {"url": "http://h/v1", "price": {"input": 1.0, "output": 2.0}}
REWARD_MODEL = {"quality": {"kind": "reward_model", "model": "m"}}


def config(**changes: Any) -> RunConfig:
    teachers = [{"name": name, "family": "f", "model": "m"} for name in "abc"]
    raw = {"name": "r", "prompts": "s", "student": {"name": "p", "model": "m"}, "teachers": teachers}
    return parse_run(raw | changes, source="run.yaml")


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ({}, True),  # math_verify says right or wrong
        ({"reroute": "on"}, True),
        ({"reroute": True}, True),  # as YAML reads `on`
        ({"reroute": False}, False),
        ({"reroute": "off"}, False),
        ({"policy": "random"}, False),  # a baseline is one answer a prompt
        ({"policy": "random", "reroute": {}}, True),
        ({"router": {"preset": "paper"}}, False),
        ({"router": {"preset": "paper"}, "reroute": {"attempts": 2}}, True),
        ({"scorers": {"score": "calibration"}}, False),
        ({"scorers": REWARD_MODEL}, False),  # a grade is no verdict: whoever wants it sets the bar
        ({"scorers": REWARD_MODEL, "reroute": {"quantile": 0.3}}, True),
        ({"policy": "budgeted", "policy_options": {"budget": {"a": {"share": 0.5}}}}, False),
    ],
)
def test_a_run_reroutes_by_default_where_its_quality_is_a_verdict(changes: dict[str, Any], does: bool) -> None:
    assert (config(**changes).rerouting is not None) is does
    stored = json.loads(config(**changes).model_dump_json())
    assert RunConfig.model_validate(stored).rerouting == config(**changes).rerouting


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reroute": {"bar": 0.0}}, "reroute.bar: math_verify gives 0 to 1. Give a bar above 0, up to 1"),
        ({"reroute": {"bar": 2.0}}, "reroute.bar: math_verify gives 0 to 1"),
        ({"reroute": {"budget": 0.5}}, "reroute.budget: 0.5 answers a prompt is less than the one that routing asks"),
        ({"reroute": {"price": "cost"}}, "reroute.price: cost needs each teacher's price; a, b, c gives none"),
        ({"reroute": {"attempts": 1}}, "reroute"),
        ({"reroute": {"atempts": 2}}, "attempts"),
        ({"reroute": {}, "policy": "oracle"}, "reroute: the policy oracle has every answer already"),
        ({"reroute": {}, "scorers": {"score": "calibration"}}, "Set scorers.score: all, or reroute: off"),
        (
            {"reroute": {}, "scorers": {"quality": {"kind": "imported"}}},
            "reroute: an imported quality is none of a new answer",
        ),
        (
            {"reroute": {}, "policy": "budgeted", "policy_options": {"budget": {"a": {"share": 0.5}}}},
            "reroute: the policy budgeted holds each teacher to its budget",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**changes)
    assert words in str(refused.value)
    assert str(refused.value).startswith("run.yaml: ")


def test_a_price_in_money_is_taken_where_every_teacher_has_one() -> None:
    teachers = [{"name": name, "family": "f", "model": "m", "endpoint": PRICED} for name in "ab"]
    assert config(teachers=teachers, reroute={"price": "cost", "budget": 0.01}).rerouting == Reroute(
        price="cost", budget=0.01
    )
