"""A run by agreement: who gives second opinions, and what is refused in which words before anything is spent."""

from typing import Any

import pytest

from persyn.config import RunConfig, parse_run, parse_scorer, scorer_identity
from persyn.config.schema import json_schema
from persyn.errors import ConfigError

NAMES = "abc"


def config(opinion: Any = None, *, teachers: Any = NAMES, **changes: Any) -> RunConfig:
    quality = {"kind": "consensus"} | ({} if opinion is None else {"opinion": opinion})
    raw = {
        "name": "r", "prompts": "s", "student": {"name": "p", "model": "m"},
        "teachers": [one if isinstance(one, dict) else {"name": one, "model": "m"} for one in teachers],
        "scorers": {"quality": quality} | changes.pop("scorers", {}),
    }  # fmt: skip
    return parse_run(raw | changes, source="run.yaml")


@pytest.mark.parametrize(
    ("opinion", "opinions"),
    [
        ("a", ["a", "b"]),
        ("c", ["c", "a"]),  # the first other one
        (["b", "c"], ["b", "c"]),
        (["b"], ["b", "a"]),
    ],
)
def test_a_second_teacher_answers_what_is_routed_to_the_first(opinion: Any, opinions: list[str]) -> None:
    assert config(opinion).opinions == opinions


def test_a_teacher_without_a_model_is_passed_over() -> None:
    assert config("b", teachers=[{"name": "a"}, "b", "c"]).opinions == ["b", "c"]


def test_it_reroutes_where_an_opinion_is_named_and_rerouting_is_asked_for() -> None:
    assert config("a").rerouting is None, "agreement may do harm"
    by_opinion = config("a", reroute="on")
    assert by_opinion.rerouting is not None
    assert by_opinion.verdict_bar == 0.5
    assert not by_opinion.is_checked, "agreement never says wrong"
    alone = config(scorers={"score": "calibration"})
    assert (alone.opinions, alone.rerouting) == ([], None)


def test_beside_another_quality_it_is_a_grade() -> None:
    several = [{"kind": "consensus", "opinion": "a"}, {"kind": "math_verify"}]
    assert config(scorers={"quality": several}).verdict_bar is None
    several[1]["weight"] = 0  # type: ignore[assignment]
    assert config(scorers={"quality": several}).verdict_bar == 0.5


def test_an_oracle_needs_no_opinion() -> None:
    assert config(policy="oracle").opinions == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"opinion": "a", "teachers": "ab"},
            "consensus asks how many teachers agree, and needs 3 of them; there are 2",
        ),
        (
            {},
            "scorers.score: consensus needs a second answer to each routed prompt. Name the teacher that gives it, as",
        ),
        ({"reroute": "on"}, "reroute: consensus needs a second answer to each routed prompt. Name the teacher that"),
        ({"opinion": "z"}, "scorers.quality.opinion: no teacher is called 'z'; there are a, b, c"),
        (
            {"opinion": "d", "teachers": [*NAMES, {"name": "d"}]},
            "scorers.quality.opinion: the teacher 'd' has no model, so it cannot be asked",
        ),
        (
            {"opinion": "d", "teachers": [*({"name": name} for name in NAMES), "d"]},
            "scorers.quality.opinion: only 'd' has a model, so nobody can be asked about its own answers",
        ),
        ({"opinion": ["a", "a"]}, "scorers.quality.opinion: 'a' stands there twice"),
        ({"opinion": ["a", "b", "c"]}, "scorers.quality.opinion: got a list of 3"),
        ({"opinion": "a", "scorers": {"score": "calibration"}}, "scorers.quality.opinion: no routed answer is scored"),
        (
            {"opinion": "a", "policy": "budgeted", "policy_options": {"budget": {"a": {"share": 0.5}}}},
            "scorers.quality.opinion: the policy budgeted holds each teacher to its budget",
        ),
        ({"opinion": "a", "reroute": {"bar": 1.5}}, "reroute.bar: consensus gives 0 to 1"),
        (
            {"scorers": {"quality": [{"kind": "consensus", "opinion": name} for name in "ab"]}},
            "quality: only one scorer can be consensus",
        ),
        (
            {"scorers": {"quality": {"kind": "consensus", "opinion": "a", "run_id": 7}}},
            "scorers.quality.run_id: a run sets this key itself",
        ),
    ],
)
def test_what_cannot_vote_is_refused_in_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**given)
    assert words in str(refused.value)
    assert str(refused.value).count("run.yaml: ") == 1


def test_its_identity_names_the_run_and_the_opinion() -> None:
    stored = {"kind": "consensus", "opinion": ["a", "b"], "run_id": 1}
    identity = scorer_identity(parse_scorer("quality", stored))
    assert identity == stored
    assert identity != scorer_identity(parse_scorer("quality", stored | {"run_id": 2}))
    assert identity != scorer_identity(parse_scorer("quality", stored | {"opinion": ["a", "c"]}))


def test_the_schema_offers_what_a_person_may_write() -> None:
    assert set(json_schema()["$defs"]["Consensus"]["properties"]) == {"weight", "kind", "opinion"}
