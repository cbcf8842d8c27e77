"""`router.of`: what a run that goes by another run's router must share with it, and what it need not."""

from typing import Any

import pytest

from persyn.config import RunConfig, differences, parse_run
from persyn.errors import ConfigError

TEACHERS: list[dict[str, Any]] = [{"name": name, "family": "f", "model": "m"} for name in ("a", "b")]
RUN: dict[str, Any] = {"name": "r", "prompts": "p", "student": {"name": "s", "model": "m"}, "teachers": TEACHERS}


def parsed(**changes: Any) -> RunConfig:
    return parse_run(RUN | changes, source="test")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": "strong"}, "test: router.of: the policy strong asks no router. Leave this key out, or set policy"),
        ({"name": "base"}, "test: router.of: a run has its own router anyway. Name another run, or leave this key out"),
        ({"router": {"of": ""}}, "test: router.of: got ''"),
    ],
)
def test_a_router_of_another_run_that_makes_no_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(**{"router": {"of": "base"}} | changes)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other", "prompts": "more", "router": {"of": "r"}},
        {"teachers": [TEACHERS[0] | {"server": {"args": ["--max-num-seqs", "8"]}}, TEACHERS[1] | {"family": "g"}]},
        {"scorers": {"score": "calibration"}},
        {"policy": "budgeted", "policy_options": {"budget": {"a": {"share": 0.5}}}},
        {"calibration": {"missing_at_most": 1.0}, "calibration_answers": "exclude", "reroute": "off"},
    ],
)
def test_what_its_own_prompts_decide_may_differ(changes: dict[str, Any]) -> None:
    assert differences(parsed().router_identity(), parsed(**changes).router_identity()) == []


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"student": RUN["student"] | {"model": "n"}}, ["student.model"]),
        ({"teachers": [*TEACHERS, TEACHERS[0] | {"name": "c"}]}, ["teachers"]),
        ({"teachers": TEACHERS[::-1]}, ["teachers[0].name", "teachers[1].name"]),
        (
            {"teachers": [TEACHERS[0], TEACHERS[1] | {"sampling": {"max_tokens": 9}}]},
            ["teachers[1].sampling.max_tokens"],
        ),
        ({"alpha": 0.2, "normalisation": "rank"}, ["alpha", "normalisation"]),
        ({"scorers": {"quality": {"kind": "math_verify", "weight": 2.0}}}, ["scorers.quality[0].weight"]),
        ({"router": {"epochs": 3}, "preferences": {"ties": "half"}}, ["preferences.ties", "router.epochs"]),
        ({"calibration": {"size": 9}, "seed": 1}, ["calibration.size", "seed"]),
    ],
)
def test_what_the_router_comes_from_is_told_by_its_key(changes: dict[str, Any], paths: list[str]) -> None:
    assert differences(parsed().router_identity(), parsed(**changes).router_identity()) == paths


def test_another_router_makes_another_run() -> None:
    assert differences(parsed().identity(), parsed(router={"of": "base"}).identity()) == ["router.of"]
