"""The arithmetic of an estimate, worked by hand."""

from typing import Any

import pytest

from persyn.config import RunConfig, parse_run
from persyn.preflight import estimate
from persyn.preflight.estimate import Means, Probe, Sizes
from persyn.preflight.report import duration, money

PRICE = {"input": 2.0, "output": 10.0}


def config(**changes: Any) -> RunConfig:
    endpoint = {"url": "http://h/v1", "price": PRICE, "concurrency": 10}
    raw = {
        "name": "r", "prompts": "s", "student": {"name": "p", "model": "m"}, "reroute": "off",
        "teachers": [
            {"name": "dear", "family": "f", "model": "m", "endpoint": endpoint, "sampling": {"max_tokens": 1000}},
            {"name": "own", "family": "f", "model": "m", "sampling": {"max_tokens": 100}},
        ],
    }  # fmt: skip
    return parse_run(raw | changes, source="test")


def sizes(**changes: Any) -> Sizes:
    means = {"dear": Means(50.0, 200.0, 3.6), "own": Means(60.0, 90.0, 1.8)}
    known = Sizes(
        prompts=1000, with_reference=1000, with_tools=0, calibration=100, characters=400.0, calibrated={}, others={},
        scored=0, means=means,
    )  # fmt: skip
    return known._replace(**changes)


def test_answers_tokens_hours_and_money_by_stage() -> None:
    asked = estimate.expected(config(), sizes(), {})
    calibrate, score, generate, routed = estimate.stages(config(), sizes(), asked)
    assert (calibrate.new, score.new, generate.new, routed.new) == (200, 400, 900, 1800)
    assert (calibrate.prompt_tokens, calibrate.completion_tokens) == (100 * 50 + 100 * 60, 100 * 200 + 100 * 90)
    assert calibrate.cost == pytest.approx(100 * (50 * 2 + 200 * 10) / 1e6)  # the worker's own server has no price
    assert calibrate.hours == pytest.approx(100 * 3.6 / 10 / 3600 + 100 * 1.8 / 64 / 3600)
    assert generate.cost == pytest.approx(450 * (50 * 2 + 200 * 10) / 1e6)  # half of the routed prompts


def test_the_highest_cost_takes_the_longest_answers_of_the_dearest_teacher() -> None:
    asked = estimate.expected(config(), sizes(), {})
    assert estimate.cost_at_most(config(), asked, sizes()) == pytest.approx((100 + 900) * (50 * 2 + 1000 * 10) / 1e6)


def test_several_answers_to_a_routed_prompt_are_counted_each() -> None:
    teachers = [teacher.model_dump() for teacher in config().teachers]
    teachers[0] |= {"samples": 4, "sampling": {"temperature": 1, "max_tokens": 1000}}
    several, known = config(teachers=teachers), sizes(others={"dear": 0.25})
    asked = estimate.expected(several, known, {})
    calibrate, _, generate, routed = estimate.stages(several, known, asked)
    assert (calibrate.new, generate.new, generate.there) == (200, 450 * 3 + 450, 450)
    assert routed.new == 2 * (450 * 4 + 450)
    assert estimate.cost_at_most(several, asked, known) == pytest.approx((100 + 900 * 4) * (50 * 2 + 1000 * 10) / 1e6)
    again = config(teachers=teachers, calibration_answers="routed")
    assert estimate.stages(again, known, asked)[2].new == round((450 * 4 + 50 * 3) * 0.75 + 450)
    assert "dear gives 4 answers to each prompt" in " ".join(estimate.assumptions(several, known, asked, {}))


def test_further_answers_of_rerouted_prompts_are_counted_and_named() -> None:
    rerouted = config(reroute={"attempts": 3})  # of two teachers only one can come after the first
    asked = estimate.expected(rerouted, sizes(), {})
    *_, further, scored = estimate.stages(rerouted, sizes(), asked)
    assert (further.stage, further.new) == ("reroute", 450)  # half of 900 routed answers
    assert (scored.stage, scored.new) == ("score rerouted", 2 * 450)
    most = estimate.cost_at_most(rerouted, asked, sizes())
    assert most == pytest.approx((100 + 2 * 900) * (50 * 2 + 1000 * 10) / 1e6)
    assert "Up to 2 teachers are asked" in " ".join(estimate.assumptions(rerouted, sizes(), asked, {}))
    budget = config(reroute={"budget": 1.25})
    assert estimate.stages(budget, sizes(), asked)[-2].new == round(0.25 * 900)


def test_without_earlier_answers_the_assumptions_are_named_and_hours_unknown() -> None:
    known = sizes(means={})
    asked = estimate.expected(config(), known, {"dear": Probe(0.5, 10)})
    assert [(one.prompt_tokens, one.completion_tokens) for one in asked] == [(110, 300), (110, 100)]
    assert [one.seconds for one in asked] == [0.5 * 30, None]
    assert estimate.stages(config(), known, asked)[0].hours is None
    told = " ".join(estimate.assumptions(config(), known, asked, {"dear": Probe(0.5, 10)}))
    assert "dear, own: no earlier answer" in told
    assert "The speed of dear is that of one tiny request" in told
    assert "nothing was measured of own yet" in told
    assert "No price is given for own" in told


@pytest.mark.parametrize(
    ("limit", "hours"),
    [({"requests_per_minute": 10}, 600 / 10 / 60), ({"tokens_per_minute": 1000}, 600 * 250 / 1000 / 60)],
)
def test_a_rate_limit_bounds_the_speed(limit: dict[str, float], hours: float) -> None:
    teachers = config().model_dump()["teachers"]
    teachers[0]["endpoint"] |= limit
    dear = estimate.expected(config(teachers=teachers), sizes(), {})[0]
    assert dear.hours(600) == pytest.approx(hours)


def test_what_is_there_is_not_done_again() -> None:
    known = sizes(calibrated={"dear": 100}, others={"dear": 0.5}, scored=150)
    calibrate, score, generate, _ = estimate.stages(config(), known, estimate.expected(config(), known, {}))
    assert (calibrate.new, calibrate.there) == (100, 100)
    assert (score.new, score.there) == (250, 150)
    assert (generate.new, generate.there) == (675, 225)


def test_imported_scores_are_not_computed_and_judges_cost() -> None:
    judge = {"kind": "judge", "model": "j", "endpoint": {"url": "http://h", "price": PRICE}}
    run = config(scorers={"quality": [judge, {"kind": "imported"}], "score": "calibration"})
    stages = estimate.stages(run, sizes(), estimate.expected(run, sizes(), {}))
    assert [stage.stage for stage in stages] == ["calibrate", "score", "generate"]
    assert stages[1].new == 200 * 2
    assert stages[1].cost == pytest.approx(200 * ((450 + 100 + 145) * 2 + 60 * 10) / 1e6)


def test_the_disk_takes_rows_and_texts() -> None:
    stages = estimate.stages(config(), sizes(), estimate.expected(config(), sizes(), {}))
    texts = 4 * (stages[0].completion_tokens or 0) + 4 * (stages[2].completion_tokens or 0)
    assert estimate.disk_bytes(sizes(), stages) == 1000 * 172 + 1100 * 239 + 2200 * 131 + 3300 * 690 + texts


@pytest.mark.parametrize(
    ("hours", "told"), [(0.001, "< 1 min"), (0.5, "30 min"), (1.5, "1.5 h"), (1234.5, "1,234.5 h")]
)
def test_a_length_of_time_is_said_as_people_do(hours: float, told: str) -> None:
    assert duration(hours) == told


@pytest.mark.parametrize(("amount", "told"), [(0, "0.00"), (0.00125, "0.0013"), (0.5, "0.5"), (1234.5, "1,234.50")])
def test_a_sum_shows_what_it_is(amount: float, told: str) -> None:
    assert money(amount) == told


def test_second_opinions_are_counted_paid_for_and_named() -> None:
    teachers = [teacher.model_dump() for teacher in config().teachers]
    third = {"name": "third", "family": "f", "model": "m"}
    quality = {"kind": "consensus", "opinion": "dear"}
    voted, known = config(teachers=[*teachers, third], scorers={"quality": quality}), sizes(others={"dear": 0.5})
    asked = estimate.expected(voted, known, {})
    opinions = next(stage for stage in estimate.stages(voted, known, asked) if stage.stage == "opinions")
    assert (opinions.new, opinions.there) == (600 // 2 + 300, 300)  # a third is routed to `dear`; `own` answers that
    assert opinions.completion_tokens == 300 * 200 + 300 * 90
    assert opinions.cost == pytest.approx(300 * (50 * 2 + 200 * 10) / 1e6)
    longest = (100 + 900 + 900) * (50 * 2 + 1000 * 10) / 1e6
    assert estimate.cost_at_most(voted, asked, known) == pytest.approx(longest)
    assert any("dear answers each routed prompt too" in told for told in estimate.assumptions(voted, known, asked, {}))
