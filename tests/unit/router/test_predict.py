"""`router.predict`: a router that was saved and loaded decides as the one that was trained."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from persyn.config import Router
from persyn.errors import ModelError
from persyn.router.artifact import WEIGHTS
from persyn.router.dataset import collate, tokenise
from persyn.router.model import load_backbone
from persyn.router.predict import LoadedRouter
from persyn.router.train import Trained, prompt_vectors, save, train

PROMPTS = [[{"role": "user", "content": "ab"[number % 2] * (1 + number)}] for number in range(10)]
REWARDS = np.array([[0.0, 1.0] if number % 2 else [1.0, 0.0] for number in range(10)])


def trained_on(backbone: str, *, frozen: bool = True, dtype: Literal["auto", "bfloat16"] = "auto") -> Trained:
    config = Router(
        head="plain", epochs=3, learning_rate=0.01, freeze_backbone=frozen, pooling="last", max_length=32, dtype=dtype
    )
    return train(PROMPTS, REWARDS, range(8), range(8, 10), config, 3, backbone, device="cpu")


@pytest.mark.parametrize("frozen", [True, False])
def test_a_loaded_router_gives_the_trained_ones_coefficients_in_order(
    frozen: bool, causal: str, tmp_path: Path
) -> None:
    trained = trained_on(causal, frozen=frozen)
    sha256 = save(trained, tmp_path, {"teachers": ["a", "b"]})
    router = LoadedRouter(tmp_path, sha256, causal, device="cpu")
    assert trained.model is not None
    rows = tokenise(load_backbone(causal), PROMPTS, 32)
    expected = trained.head.coefficients(prompt_vectors(trained.model, rows, PROMPTS, with_surface=frozen))
    if not frozen:
        with torch.inference_mode():
            np.testing.assert_allclose(trained.model(*collate(rows, torch.device("cpu"))), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0
    for batch_size in (1, 3, 64):
        np.testing.assert_allclose(router.coefficients(PROMPTS, batch_size), expected, atol=1e-5)


def test_a_frozen_backbone_in_bfloat16_is_loaded_as_it_was_trained(causal: str, tmp_path: Path) -> None:
    trained = trained_on(causal, dtype="bfloat16")
    router = LoadedRouter(tmp_path, save(trained, tmp_path, {}), causal, device="cpu")
    seen = router.vectors(PROMPTS[:8])
    np.testing.assert_allclose(seen, trained.vectors, atol=0.02)  # bfloat16 keeps eight bits, whatever the batch
    assert not np.allclose(seen, trained_on(causal).vectors, atol=1e-4)


def test_a_cross_validated_head_is_loaded_with_all_that_it_saw(causal: str, tmp_path: Path) -> None:
    prompts = [[{"role": "user", "content": ("a?", "B.")[number % 2] * (1 + number % 9)}] for number in range(60)]
    rewards = np.array([[0.0, 1.0] if number % 2 else [1.0, 0.0] for number in range(60)])
    trained = train(prompts, rewards, range(50), range(50, 60), Router(max_length=32), 3, causal, device="cpu")
    assert trained.head.neighbours is not None
    router = LoadedRouter(tmp_path, save(trained, tmp_path, {}), causal, device="cpu")
    expected = trained.head.coefficients(router.vectors(prompts))
    np.testing.assert_allclose(router.coefficients(prompts), expected, atol=1e-4)
    assert router.pooled(router.vectors(prompts)).shape[1] < router.vectors(prompts).shape[1]


def test_the_artifact_says_what_it_is(causal: str, tmp_path: Path) -> None:
    sha256 = save(trained_on(causal), tmp_path, {"teachers": ["a", "b"], "alpha": 0.4})
    description = LoadedRouter(tmp_path, sha256, causal, device="cpu").description
    assert description["teachers"] == ["a", "b"]
    assert (description["alpha"], description["seed"], description["pooling"]) == (0.4, 3, "last")
    assert description["versions"].keys() == {"persyn", "torch", "transformers"}


def test_another_file_than_the_recorded_one_is_refused(causal: str, tmp_path: Path) -> None:
    sha256 = save(trained_on(causal), tmp_path, {})
    with pytest.raises(ModelError, match="sha256"):
        LoadedRouter(tmp_path, "0" * 64, causal, device="cpu")
    (tmp_path / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(ModelError, match="sha256"):
        LoadedRouter(tmp_path, sha256, causal, device="cpu")


def test_no_prompts_give_no_coefficients(causal: str, tmp_path: Path) -> None:
    router = LoadedRouter(tmp_path, save(trained_on(causal), tmp_path, {}), causal, device="cpu")
    assert router.coefficients([]).shape == (0, 2)


def test_the_nearest_calibration_prompt_of_a_training_prompt_is_itself(causal: str, tmp_path: Path) -> None:
    trained = trained_on(causal)._replace(prompt_ids=[100 + number for number in range(8)])
    router = LoadedRouter(tmp_path, save(trained, tmp_path, {}), causal, device="cpu")
    near = router.predict(PROMPTS[:8], 3).neighbour_ids
    assert [ids[0] for ids in near] == trained.prompt_ids
    assert all(len(set(ids)) == 3 for ids in near)
    assert [len(ids) for ids in router.predict(PROMPTS[:1], 50).neighbour_ids] == [8]
    assert router.predict([], 3).neighbour_ids == []
