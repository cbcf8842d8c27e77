"""A run's variants: what they share with it, and what they do not."""

from typing import Any

import pytest

from persyn.config import RunConfig
from persyn.config.variants import Changes, variant
from persyn.errors import ConfigError

BASE: dict[str, Any] = {
    "name": "r", "prompts": "p", "student": {"model": "s"}, "teachers": [{"model": "a"}, {"model": "b"}],
    "calibration": {"size": 40},
}  # fmt: skip


def base(**given: Any) -> RunConfig:
    return RunConfig.model_validate(BASE | given)


def test_a_baseline_is_routed_once_and_shares_all_that_was_measured() -> None:
    run = base()
    found = variant(run, Changes("car"), 1000)
    assert (found.name, found.policy, found.rerouting, found.router.of) == ("r.car", "car", None, None)
    assert run.rerouting is not None
    assert (found.teachers, found.scorers, found.calibration, found.seed) == (
        run.teachers, run.scorers, run.calibration, run.seed,
    )  # fmt: skip


def test_the_router_serves_where_it_learned_by_the_same_alpha() -> None:
    assert variant(base(), Changes(reroute="off"), 9).router.of == "r"
    assert variant(base(router={"of": "first"}), Changes(reroute="off"), 9).router.of == "first"
    other = variant(base(), Changes(alpha=0.7), 9)
    assert (other.name, other.alpha, other.router.of) == ("r.alpha-0.7", 0.7, None)
    assert variant(base(), Changes(alpha=0.4), 9).router.of == "r"
    assert variant(base(policy="car"), Changes("persyn"), 9).router.of is None, "the run has no router"


def test_an_oracle_calibrates_on_the_whole_set() -> None:
    assert variant(base(), Changes("oracle"), 1000).calibration.size == 1000


def test_a_policys_own_options_stay_and_those_of_others_go() -> None:
    run = base(policy="car", policy_options={"beta": 2.0})
    assert variant(run, Changes(alpha=0.1), 9).policy_options.beta == 2.0
    assert variant(run, Changes("strong"), 9).policy_options.beta == 3.0


@pytest.mark.parametrize(
    ("given", "changes", "told"),
    [
        ({}, Changes(alpha=1.5), "alpha: got 1.5"),
        ({}, Changes("budgeted"), "policy_options.budget: the policy budgeted needs a limit"),
        ({}, Changes("oracle", reroute="on"), "reroute: the policy oracle has every answer already"),
        ({"name": "n" * 60}, Changes("strong"), "a name has 1 to 63"),
        ({"alpha": 0.0, "scorers": {"learnability": "none"}}, Changes("car"), "scorers.learnability: the policy car"),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, Any], changes: Changes, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        variant(base(**given), changes, 9)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
