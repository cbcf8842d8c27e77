"""Each measure by hand, on numbers that a reader can check."""

import math

import pytest
import torch

from persyn.rewards.learnability.measures import (
    TokenScores,
    brier_of,
    first,
    ifd,
    lark,
    local_naturalness,
    loglik,
    rank_of,
    rank_surprisal,
    scas,
)

HALF, QUARTER = math.log(0.5), math.log(0.25)


def test_loglik_is_the_mean_in_nats() -> None:
    assert loglik(TokenScores(torch.tensor([HALF, QUARTER]))).value == pytest.approx(-1.5 * math.log(2))


def test_ifd_is_the_loss_given_the_prompt_over_the_loss_alone_where_both_are_known() -> None:
    scores = TokenScores(torch.tensor([-9.0, HALF, QUARTER]), alone=torch.tensor([math.nan, QUARTER, QUARTER]))
    assert ifd(scores).value == pytest.approx(-0.75)  # 1.5 ln 2 over 2 ln 2; the first token counts on neither side


def test_rank_surprisal_is_clipped_ranks_over_surprisals() -> None:
    scores = TokenScores(torch.tensor([HALF, QUARTER]), ranks=torch.tensor([3, 5000]))
    assert rank_surprisal(scores).value == pytest.approx(-(3 + 100) / (3 * math.log(2)))


def test_a_rank_counts_what_is_likelier_and_shares_with_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]])
    assert rank_of(logits, torch.tensor([2, 0])).tolist() == [2, 1]


def test_scas_weighs_losses_by_the_cosines_between_activations() -> None:
    scores = TokenScores(
        torch.tensor([-1.0, -3.0, -50.0]),
        question_nll=4.0,
        question_direction=torch.tensor([1.0, 0.0]),
        answer_directions=torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),  # the third is a special token
    )
    # loss 2; AA: (1 + 0 + 0 + 1) / 4; AQ: (1 + 0) / 2
    assert scas(scores, 0.5).value == pytest.approx(-(0.5 * 2**2 * 0.5 + 0.5 * 2 * 4 * 0.5))
    assert scas(scores, 0.0).value == pytest.approx(-(2**2) * 0.5)


def test_lark_is_the_mean_brier_score_over_the_mean_loss() -> None:
    result = lark(TokenScores(torch.tensor([HALF, QUARTER]), brier=torch.tensor([0.5, 1.0])))
    # L = (ln 2 + 2 ln 2) / 2, B = 0.75
    assert result.detail == pytest.approx(
        {"tokens": 2, "rho": 0.5 / math.log(2), "loss": 1.5 * math.log(2), "brier": 0.75}
    )
    assert result.value == result.detail["rho"]
    assert lark(TokenScores(torch.zeros(2), brier=torch.zeros(2))).value == 0.0  # certain: nothing is left to learn


def test_a_brier_score_is_the_squared_distance_from_certainty() -> None:
    logits = torch.tensor([[0.0, HALF, QUARTER, QUARTER]]).log_softmax(dim=1)  # 1/2, 1/4, 1/8, 1/8
    # (1/2)² + (3/4)² + 2 (1/8)² where the second came: 0.25 + 0.5625 + 0.03125
    assert brier_of(logits, torch.tensor([1])).tolist() == pytest.approx([0.84375])


def test_a_brier_score_sees_the_fifty_likeliest_tokens_alone() -> None:
    logits = torch.full((2, 100), -9.0)
    logits[:, :50] = 1.0  # 1/50 each, scaled among themselves
    # of the 50: 1 - 2/50 + 50/2500; of none: 1 - 0 + 50/2500
    assert brier_of(logits, torch.tensor([3, 70])).tolist() == pytest.approx([0.98, 1.02])


def test_local_naturalness_is_the_mean_of_steps_whatever_their_length() -> None:
    scores = TokenScores(
        torch.tensor([-1.0, -1.0, -1.0, -4.0]),
        steps=torch.tensor([0, 0, 0, 1]),
        local={0: torch.tensor([-1.0, -2.0, -3.0, -6.0]), 1: torch.tensor([-1.0, -2.0, -3.0, -5.0])},
    )
    result = local_naturalness(scores, 0)
    assert result.value == pytest.approx((-2 - 6) / 2)  # not -12 / 4
    assert result.detail == pytest.approx({"tokens": 4, "lalp": -4.0, "steps": 2, "loglik": -7 / 4})
    assert local_naturalness(scores, 1).value == pytest.approx((-2 - 5) / 2)
    assert local_naturalness(first(scores, 2), 0).value == pytest.approx(-1.5)  # half of the first step is left


def test_an_answer_is_cut_in_all_that_is_known_of_it() -> None:
    scores = TokenScores(torch.tensor([HALF, QUARTER]), torch.tensor([1, 2]), torch.tensor([HALF, QUARTER]))
    cut = first(scores, 1)
    assert [len(part) for part in (cut.logprobs, cut.ranks, cut.alone) if part is not None] == [1, 1, 1]
    assert first(scores, None) is not scores
    assert len(first(scores, None).logprobs) == 2
