"""Measures of learnability, each a function of one forward pass of the student over an answer.

Whatever the paper's sign, the value here is higher where the answer is easier to learn, so that every measure can take
the same place in the reward. The paper's own number is kept in the detail.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from persyn.rewards.measurement import Measurement

RANK_CLIP = 100  # r_max of the Rank-Surprisal Ratio's paper
BRIER_TOP = 50  # probabilities that LARK's Brier score keeps of the vocabulary


class TokenScores(NamedTuple):
    """The student's scores of one answer of n tokens; None where no measure needs them."""

    logprobs: Tensor  # (n,) log p(y_t | y_<t, x), float
    ranks: Tensor | None = None  # (n,) rank of y_t among the vocabulary, from 1
    alone: Tensor | None = None  # (n,) log p(y_t | y_<t), without the prompt; NaN where nothing precedes
    question_nll: float | None = None  # mean -log p of the prompt's own tokens
    question_direction: Tensor | None = None  # (H,) mean of the prompt's normalised activations
    answer_directions: Tensor | None = None  # (n, H) the answer's normalised activations; a special token's is zero
    brier: Tensor | None = None  # (n,) squared distance of the student's probabilities from certainty of y_t
    steps: Tensor | None = None  # (n,) the number of the answer's step that y_t belongs to, from 0
    local: Mapping[int, Tensor] | None = None  # by window: (n,) log p(y_t | x, the `window` steps before, its own step)


def loglik(scores: TokenScores) -> Measurement:
    """PerSyn's learnability (arXiv 2510.10925): the mean log-likelihood of the answer's tokens, in nats."""
    return Measurement(_mean(scores.logprobs), _detail(scores))


def ifd(scores: TokenScores) -> Measurement:
    """Instruction-following difficulty (arXiv 2308.12032), negated.

    The paper's ratio: the answer's mean loss given the prompt, over its mean loss alone. Both means are over the tokens
    that something precedes in either reading. Low where the prompt explains the answer.
    """
    assert scores.alone is not None, "ifd needs the answer alone"
    kept = ~scores.alone.isnan()
    given, alone = -_mean(scores.logprobs[kept]), -_mean(scores.alone[kept])
    ratio = given / alone
    return Measurement(-ratio, _detail(scores) | {"ifd": ratio, "loss": given, "loss_alone": alone})


def rank_surprisal(scores: TokenScores) -> Measurement:
    """Rank-Surprisal Ratio (arXiv 2601.14249), negated: Σ min(rank, 100) / Σ -log p.

    Low where tokens are improbable, so that there is something to learn, and yet among the student's first choices.
    """
    assert scores.ranks is not None, "rank_surprisal needs ranks"
    ranks = scores.ranks.clamp(max=RANK_CLIP).double()
    surprisal = -scores.logprobs.double()
    ratio = float(ranks.sum() / surprisal.sum().clamp(min=1e-12))
    return Measurement(-ratio, _detail(scores) | {"rsr": ratio, "mean_rank": float(ranks.mean())})


def lark(scores: TokenScores) -> Measurement:
    """The ratio ρ = B / L of LARK (arXiv 2605.30651), with L the mean loss and B the mean Brier score of the tokens.

    High where a step of training lowers the loss fast for its height. ρ is LARK's ĝ of an answer that stands alone;
    among the answers to one prompt ĝ comes of their ρ and L (`persyn.rewards.combine.lark_gain`). 0 without a loss.
    """
    assert scores.brier is not None, "lark needs Brier scores"
    loss, brier = -_mean(scores.logprobs), _mean(scores.brier)
    ratio = brier / loss if loss > 0 else 0.0
    return Measurement(ratio, _detail(scores) | {"rho": ratio, "loss": loss, "brier": brier})


def local_naturalness(scores: TokenScores, window: int) -> Measurement:
    """Local naturalness (arXiv 2510.03988): the mean over the answer's steps of their mean log-likelihood, in nats.

    A step is read after the prompt and the `window` steps before it alone, and counts as much as any other, whatever
    its length. The log-likelihood of whole answers grows with their length, because they explain themselves.
    """
    assert scores.local is not None, "local_naturalness needs windows"
    assert scores.steps is not None, "local_naturalness needs steps"
    logprobs = scores.local[window].double()
    counts = torch.bincount(scores.steps)
    means = torch.zeros(len(counts), dtype=torch.double, device=logprobs.device)
    means = means.index_add(0, scores.steps, logprobs) / counts
    value = _mean(means)
    return Measurement(value, _detail(scores) | {"lalp": value, "steps": len(counts), "loglik": _mean(scores.logprobs)})


def scas(scores: TokenScores, weight: float) -> Measurement:
    """The learning cost of Student-Centric Answer Sampling (arXiv 2605.26872), negated.

    S = (1-λ)·d_A²·AA + λ·d_A·d_Q·AQ, where d_A and d_Q are the mean losses of the answer's and the prompt's tokens, AA
    the mean cosine between activations of two answer tokens and AQ that between an answer's and a prompt's token. The
    activations are the outputs of the last layer's up-projection; special tokens take no part in any of the four.
    """
    assert scores.answer_directions is not None, "scas needs activations"
    real = scores.answer_directions.norm(dim=1) > 0
    answer = scores.answer_directions[real].mean(dim=0)
    answer_loss, question_loss = -_mean(scores.logprobs[real]), scores.question_nll or 0.0
    within = float(answer @ answer)  # the mean over all pairs of unit vectors is the square of their mean
    across = 0.0 if scores.question_direction is None else float(answer @ scores.question_direction)
    cost = (1 - weight) * answer_loss**2 * within + weight * answer_loss * question_loss * across
    return Measurement(
        -cost,
        _detail(scores)
        | {"scas": cost, "answer_loss": answer_loss, "question_loss": question_loss, "aa": within, "aq": across},
    )


def first(scores: TokenScores, tokens: int | None) -> TokenScores:
    """The same answer, cut to its first tokens, whose scores depend on no later token."""

    def cut(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[:tokens]

    return scores._replace(
        logprobs=scores.logprobs[:tokens],
        ranks=cut(scores.ranks),
        brier=cut(scores.brier),
        steps=cut(scores.steps),
        local=scores.local and {window: values[:tokens] for window, values in scores.local.items()},
        alone=cut(scores.alone),
        answer_directions=cut(scores.answer_directions),
    )


def rank_of(logits: Tensor, targets: Tensor) -> Tensor:
    """(rows,) ranks from 1 of targets (rows,) in logits (rows, vocabulary); equals share the best rank."""
    chosen = logits.gather(1, targets[:, None])
    return 1 + (logits > chosen).sum(dim=1)


def brier_of(logits: Tensor, targets: Tensor) -> Tensor:
    """(rows,) Σ_v (p_v - [v is the target])² from logits (rows, vocabulary), over the 50 likeliest tokens.

    As LARK's code has it, their probabilities are scaled to sum to 1; a target that is not among them has none.
    """
    top, places = logits.float().topk(min(BRIER_TOP, logits.shape[1]), dim=1)
    probabilities = top.softmax(dim=1)
    of_target = (probabilities * (places == targets[:, None])).sum(dim=1)
    return 1 - 2 * of_target + probabilities.square().sum(dim=1)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _detail(scores: TokenScores) -> dict[str, Any]:
    return {"tokens": len(scores.logprobs)}


def unit(activations: Tensor) -> Tensor:
    """(rows, H) with rows of length 1."""
    return torch.nn.functional.normalize(activations.float(), dim=1)
