"""The worker's options: which GPUs it may see, and which queues it serves."""

import pytest

from persyn.errors import ConfigError
from persyn.workers.__main__ import queues, visible_gpus


@pytest.mark.parametrize("given", ["ann,bob", "ann, bob", " ann ,, bob,"])
def test_blanks_between_the_names_of_teachers_do_not_matter(given: str) -> None:
    assert queues(given, scorers=False, router=False, trainers=False) == ["teacher.ann", "teacher.bob"]
    assert queues("", scorers=False, router=True, trainers=True) == ["router", "train"]


def test_a_group_of_gpus_is_all_that_a_worker_sees() -> None:
    assert visible_gpus("", 1) == {}
    assert visible_gpus("0, 1", 2) == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert visible_gpus("GPU-8f2d", 1) == {"CUDA_VISIBLE_DEVICES": "GPU-8f2d"}


@pytest.mark.parametrize(
    ("gpus", "spread", "said"),
    [
        ("0,,1", 1, "expected different numbers"),
        ("0,0", 1, "expected different numbers"),
        ("cuda:0", 1, "expected different numbers"),
        ("0", 2, "--gpus names 1 of them"),
    ],
)
def test_a_wrong_group_is_told_with_the_flag(gpus: str, spread: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        visible_gpus(gpus, spread)
