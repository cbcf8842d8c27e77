"""`router.model`: pooling, the head's start, and which weights count as trained."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from persyn.errors import ModelError
from persyn.router.dataset import collate
from persyn.router.model import Pooling, RouterModel, load_backbone

ROWS = [[5, 9, 23, 42], [7, 8]]


def build(path: str, *, pooling: Pooling = "mean", frozen: bool = True, teachers: int = 3) -> RouterModel:
    return RouterModel(load_backbone(path).network, pooling=pooling, n_teachers=teachers, frozen=frozen).eval()


@pytest.mark.parametrize("pooling", ["mean", "last", "layers", "middle"])
def test_padding_changes_no_prompts_vector(pooling: Pooling, encoder: str, causal: str) -> None:
    for path in (encoder, causal):
        model = build(path, pooling=pooling)
        together = model.embed(*collate(ROWS, torch.device("cpu")))
        for row, vector in zip(ROWS, together, strict=True):
            alone = model.embed(*collate([row], torch.device("cpu")))
            torch.testing.assert_close(alone[0], vector, atol=1e-5, rtol=1e-4)


def test_mean_averages_the_tokens_and_last_takes_the_last(causal: str) -> None:
    ids, attention = collate(ROWS[:1], torch.device("cpu"))
    model = build(causal)
    states = model.backbone(input_ids=ids).last_hidden_state
    torch.testing.assert_close(model.embed(ids, attention), states.mean(dim=1))
    torch.testing.assert_close(build(causal, pooling="last").embed(ids, attention), states[:, -1])


@pytest.mark.parametrize(("layers", "middle", "upper"), [(8, 4, 6), (5, 3, 4)])
def test_poolings_of_several_layers_put_their_parts_side_by_side(
    layers: int, middle: int, upper: int, causal: str
) -> None:
    deep = AutoModel.from_config(AutoConfig.from_pretrained(causal, num_hidden_layers=layers)).eval()
    ids, attention = collate(ROWS[:1], torch.device("cpu"))
    hidden = deep(input_ids=ids, output_hidden_states=True).hidden_states
    means = [hidden[layer].mean(dim=1) for layer in (0, middle, layers)]
    parts: dict[Pooling, list[torch.Tensor]] = {
        "layers": means,
        "middle": [means[1], hidden[middle][:, -1], hidden[upper][:, -1]],
    }
    for pooling, expected in parts.items():
        model = RouterModel(deep, pooling=pooling, n_teachers=2, frozen=True)
        torch.testing.assert_close(model.embed(ids, attention), torch.cat(expected, dim=1))
        assert model.head.in_features == 3 * 32


def test_before_training_every_prompt_gets_the_bias(causal: str) -> None:
    model = build(causal)
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert model(*collate(ROWS, torch.device("cpu"))).tolist() == [[1.0, 2.0, 3.0]] * 2


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_is_no_part_of_the_trained_state(frozen: bool, causal: str) -> None:
    names = set(build(causal, frozen=frozen).trained_state())
    assert (names == {"head.weight", "head.bias"}) is frozen
    assert {"head.weight", "head.bias"} <= names


def test_a_state_of_another_shape_is_refused(causal: str) -> None:
    with pytest.raises(ModelError, match="do not fit its backbone"):
        build(causal, teachers=4).restore(build(causal, teachers=3).trained_state())


def test_a_backbone_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*[^.]\.$"):
        load_backbone(str(tmp_path / "nowhere"))
