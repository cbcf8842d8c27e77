"""Mistakes that are known when a run is made are told then, before any answer is paid for."""

from collections.abc import Callable
from typing import Any

import pytest

from persyn import set_needs
from persyn.errors import ConfigError

Build = Callable[..., Any]
DRAWN: dict[str, Any] = {"family": "f", "model": "m", "samples": 2, "sampling": {"temperature": 1}}
SEVERAL = [DRAWN | {"name": "a"}, DRAWN | {"name": "b"}]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": "persyn", "calibration": {"size": 4, "validation": 0.9}}, "leaves none to train the router on"),
        ({"policy": "oracle", "calibration": {"size": 7}}, "7 is less than the 8 prompts"),
        ({"calibration_answers": "exclude", "calibration": {"size": 8}}, "no row would be left"),
        (
            {"policy": "oracle", "calibration": {"size": 8}, "teachers": SEVERAL},
            "teachers: the policy oracle takes calibration answers, one of each teacher",
        ),
    ],
)
def test_a_configuration_that_its_set_cannot_serve_is_refused(
    build_run: Build, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_run(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "persyn", "calibration": {"size": 4, "validation": 0.5}},
        {"policy": "random", "calibration": {"size": 4, "validation": 0.9}},  # nothing is trained
        {"policy": "oracle", "calibration": {"size": 8}},
        {"calibration_answers": "exclude", "calibration": {"size": 7}},
    ],
)
def test_what_fits_is_taken(build_run: Build, changes: dict[str, Any]) -> None:
    assert build_run(**changes).id


@pytest.mark.parametrize(("size", "warns"), [(7, False), (8, True), (2500, True)])
def test_calibrating_on_the_whole_set_is_told_with_its_price(build_run: Build, size: int, warns: bool) -> None:
    run = build_run()
    config = run.config.model_copy(update={"calibration": run.config.calibration.model_copy(update={"size": size})})
    advice = set_needs.advice(config, 8)
    assert (advice is not None) is warns
    assert not warns or "16 answers" in str(advice)
