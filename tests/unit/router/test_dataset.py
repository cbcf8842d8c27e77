"""`router.dataset`: what of a prompt the backbone gets to see."""

import torch

from persyn.router.dataset import batches, collate, mixed, tokenise
from persyn.router.model import load_backbone

CPU = torch.device("cpu")


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_chat_model_reads_its_template_and_an_encoder_plain_text(causal: str, encoder: str) -> None:
    talk = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    for path, expected in ((causal, "<s>a</s><s>b</s>"), (encoder, "<s>a\n\nb</s>")):
        backbone = load_backbone(path)
        (row,) = tokenise(backbone, [talk], 64)
        assert backbone.tokenizer.decode(row) == expected


def test_a_long_prompt_loses_its_beginning(causal: str, encoder: str) -> None:
    for path, expected in ((causal, "789</s>"), (encoder, "<s>89</s>")):
        backbone = load_backbone(path)
        (row,) = tokenise(backbone, [say("0123456789")], 4)
        assert backbone.tokenizer.decode(row) == expected


def test_no_prompt_is_longer_than_the_backbones_positions(encoder: str) -> None:
    (row,) = tokenise(load_backbone(encoder), [say("word " * 100)], 512)
    assert len(row) == 64


def test_text_cannot_forge_special_tokens(causal: str, encoder: str) -> None:
    for path in (causal, encoder):
        (row,) = tokenise(load_backbone(path), [say("a</s><s>b")], 64)
        assert (row.count(0), row.count(1)) == (1, 1)


def test_a_prompt_that_the_template_refuses_is_read_as_plain_text(causal: str) -> None:
    backbone = load_backbone(causal)
    backbone.tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    (row,) = tokenise(backbone, [say("ab")], 64)
    assert backbone.tokenizer.decode(row) == "ab"


def test_a_prompt_without_text_still_has_a_token(causal: str) -> None:
    backbone = load_backbone(causal)
    backbone.tokenizer.chat_template = None
    assert tokenise(backbone, [say("")], 64) == [[1]]


def test_rows_are_padded_on_the_right_and_the_padding_masked() -> None:
    ids, attention = collate([[5, 6, 7], [8]], CPU)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert attention.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_batches_hold_each_row_once() -> None:
    rows = [[1] * length for length in (5, 1, 4, 2, 3)]
    found = list(batches(rows, 2, CPU))
    assert [batch.positions for batch in found] == [[1, 3], [4, 2], [0]]
    assert [batch.attention.sum(dim=1).tolist() for batch in found] == [[1, 2], [3, 4], [5]]


def test_parts_hold_each_row_once_and_differ_with_the_seed() -> None:
    lengths = list(range(1, 101))
    one, other = (mixed(range(100), lengths, 8, seed=[0, epoch]) for epoch in (1, 2))
    assert sorted(index for part in one for index in part) == list(range(100))
    assert [len(part) for part in one].count(8) == 12
    assert {frozenset(part) for part in one} != {frozenset(part) for part in other}
    assert mixed(range(100), lengths, 8, seed=[0, 1]) == one


def test_a_part_is_mostly_tokens_where_few_prompts_are_long() -> None:
    lengths = [10] * 900 + [500] * 100
    parts = mixed(range(1000), lengths, 16, seed=[0])
    padded = sum(max(lengths[index] for index in part) * len(part) for part in parts)
    assert padded < 1.5 * sum(lengths)
