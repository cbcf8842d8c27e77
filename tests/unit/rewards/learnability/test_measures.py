"""Each measure by hand, on numbers that a reader can check."""

import math

import pytest
import torch

from persyn.rewards.learnability.measures import TokenScores, first, ifd, loglik, rank_of, rank_surprisal, scas

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


def test_an_answer_is_cut_in_all_that_is_known_of_it() -> None:
    scores = TokenScores(torch.tensor([HALF, QUARTER]), torch.tensor([1, 2]), torch.tensor([HALF, QUARTER]))
    cut = first(scores, 1)
    assert [len(part) for part in (cut.logprobs, cut.ranks, cut.alone) if part is not None] == [1, 1, 1]
    assert first(scores, None) is not scores
    assert len(first(scores, None).logprobs) == 2
