"""The router's head on a frozen backbone: Bradley-Terry coefficients π(x) = b + W·φ(e(x)), fitted as a convex problem.

The bias b holds what is true of the teachers on every prompt. How much a prompt may add to it is not ours to guess:
the shrinkage is chosen by cross-validation on held-out *reward*, which is what routing is for, and nothing at all is
always one of the choices. Where the prompts say nothing, the router is the static best.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from persyn.config import Preferences, Router
from persyn.preferences.pairs import Pairs, incidence, pairs
from persyn.router.features import KERNEL, Features, features
from persyn.router.surface import WIDTH

Floats = NDArray[np.float64]

SHRINKAGE = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # from nearly nothing to nearly free
PRIOR = 1e-4  # on the bias: a teacher that never loses stays finite
STEPS, STEPS_IN_TRIALS = 200, 40  # of L-BFGS: a trial's held-out reward is known long before its last digit


class Head(NamedTuple):
    features: Features
    weights: Floats  # (F, M); zero where the static best is best
    bias: Floats  # (M,)

    def coefficients(self, vectors: Floats) -> Floats:
        """(P, M) for prompt vectors (P, D)."""
        return np.asarray(self.features.of(vectors) @ self.weights + self.bias)

    def tensors(self) -> dict[str, Floats]:
        """What an artifact keeps besides the kernel's name and the width of the backbone's part."""
        kept = {**self.features._asdict(), "weights": self.weights, "bias": self.bias}
        return {f"map.{name}": value for name, value in kept.items() if name not in ("kernel", "pooled")}

    @classmethod
    def from_tensors(cls, kernel: str, pooled: int | None, tensors: Mapping[str, NDArray[np.float32]]) -> "Head":
        """pooled: all of the vector where it is None."""
        names = ("centre", "spread", "landmarks", "projection", "mean", "weights", "bias")
        kept = [tensors[f"map.{name}"].astype(np.float64) for name in names]
        return cls(Features(kernel, len(kept[0]) if pooled is None else pooled, *kept[:5]), *kept[5:])


class Choice(NamedTuple):
    """What the cross-validation chose, and its mean reward on prompts left out beside the static best's."""

    shrinkage: float
    reward: float
    static_reward: float

    def as_metrics(self) -> dict[str, float | None]:
        return {
            "shrinkage": None if np.isinf(self.shrinkage) else self.shrinkage,
            "held_out_reward": self.reward,
            "static_held_out_reward": self.static_reward,
        }


CAUTION = (
    0.5  # standard errors by which held-out prompts must speak for routing; 1 lost more on what there was to learn
)
STATIC = np.inf  # the shrinkage that leaves nothing but the bias


def fit(
    vectors: Floats, rewards: Floats, config: Router, preferences: Preferences, *, seed: int
) -> tuple[Head, dict[str, float | None]]:
    """The head that the configuration asks for, and how it was found. vectors (P, D) as `train.see` gives them."""
    pooled = vectors.shape[1] - (WIDTH if config.sees_surface else 0)
    if config.head == "plain":
        return plain(vectors, rewards, preferences, seed=seed, pooled=pooled), {}
    made, choice = select(vectors, rewards, preferences, folds=config.folds, seed=seed, pooled=pooled)
    return made, choice.as_metrics()


def select(
    vectors: Floats, rewards: Floats, preferences: Preferences, *, folds: int, seed: int, pooled: int | None = None
) -> tuple[Head, Choice]:
    """Choose the shrinkage on the prompts given, and fit on all of them. vectors (P, D), rewards (P, M)."""
    usable, teachers = np.flatnonzero((~np.isnan(rewards)).sum(axis=1) >= 2), rewards.shape[1]
    if usable.size == 0:
        made = features(vectors, "linear", seed=seed, pooled=pooled)
        return Head(made, np.zeros((len(made.mean), teachers)), np.zeros(teachers)), Choice(STATIC, 0.0, 0.0)
    vectors, rewards = vectors[usable], rewards[usable]
    part = np.random.default_rng(seed).permutation(len(rewards)) % folds
    earned: dict[float, Floats] = {}
    for fold in range(min(folds, len(rewards))):
        train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        known = pairs(rewards[train], **preferences.model_dump())
        made = features(vectors[train], KERNEL, seed=seed, pooled=pooled)
        for shrinkage, head in path(made, vectors[train], known, teachers, steps=STEPS_IN_TRIALS):
            held = earned.setdefault(shrinkage, np.zeros(len(rewards)))
            held[test] = chosen_reward(head.coefficients(vectors[test]), rewards[test])
    chosen = _decide(earned)
    made = features(vectors, KERNEL, seed=seed, pooled=pooled)
    heads = dict(path(made, vectors, pairs(rewards, **preferences.model_dump()), teachers, until=chosen))
    return heads[chosen], Choice(chosen, float(earned[chosen].mean()), float(earned[STATIC].mean()))


def static(known: Pairs, teachers: int) -> Floats:
    """(M,) Bradley-Terry strengths over all pairs, with mean 0: the best coefficients that ignore the prompt."""
    return _fit(np.empty((len(known.weight), 0)), known, teachers, np.inf)[1]


def plain(vectors: Floats, rewards: Floats, preferences: Preferences, *, seed: int, pooled: int | None = None) -> Head:
    """The paper's head on a frozen backbone: linear, as good as free, nothing selected."""
    known = pairs(rewards, **preferences.model_dump())
    made = features(vectors, "linear", seed=seed, pooled=pooled)
    return Head(made, *_fit(made.of(vectors), known, rewards.shape[1], 1e-6))


def path(
    made: Features, vectors: Floats, known: Pairs, teachers: int, *, until: float = 0.0, steps: int = STEPS
) -> Iterator[tuple[float, Head]]:
    """Shrinkage and head, from the static best to the freest one, each fit starting from the one before."""
    seen = made.of(vectors)
    weights, bias = np.zeros((seen.shape[1], teachers)), static(known, teachers)
    yield STATIC, Head(made, weights, bias)
    for shrinkage in SHRINKAGE:
        if shrinkage < until:
            return
        weights, bias = _fit(seen, known, teachers, shrinkage, (weights, bias), steps)
        yield shrinkage, Head(made, weights, bias)


def _fit(
    seen: Floats, known: Pairs, teachers: int, shrinkage: float, start: tuple[Floats, Floats] | None = None,
    steps: int = STEPS,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Minimise mean weighted cross-entropy per preference + ½·shrinkage·|W|², over W (F, M) and b (M,)."""
    z = incidence(teachers)
    weight = known.weight / max(known.weight.sum(), 1e-12)
    width = seen.shape[1]
    ridge = np.full((width + 1, 1), shrinkage if width else 0.0)
    ridge[-1] = PRIOR

    def loss(flat: Floats) -> tuple[float, Floats]:
        both = flat.reshape(width + 1, teachers)
        lead = (seen @ both[:-1] + both[-1]) @ z.T  # zᵀπ(x) of every pair, (P, K)
        value = float((weight * (np.logaddexp(0.0, lead) - known.target * lead)).sum())
        per_teacher = (weight * (expit(lead) - known.target)) @ z
        slope = np.vstack([seen.T @ per_teacher, per_teacher.sum(axis=0)]) + ridge * both
        return value + 0.5 * float((ridge * both**2).sum()), slope.ravel()

    weights, bias = start or (np.zeros((width, teachers)), np.zeros(teachers))
    found = minimize(
        loss, np.vstack([weights, bias]).ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": steps, "maxcor": 10, "ftol": 1e-7, "gtol": 1e-7},
    ).x.reshape(width + 1, teachers)  # fmt: skip
    return found[:-1], found[-1] - found[-1].mean()


def chosen_reward(coefficients: Floats, rewards: Floats) -> Floats:
    """(P,) the reward of the teacher with the highest coefficient among those that have one."""
    offered = np.where(np.isnan(rewards), -np.inf, coefficients)
    return np.asarray(rewards[np.arange(len(rewards)), offered.argmax(axis=1)])


def _decide(earned: Mapping[float, Floats]) -> float:
    """The shrinkage of the best mean, or the static best where no more than half a standard error separates the two."""
    best = max(earned, key=lambda shrinkage: float(earned[shrinkage].mean()))
    gap = earned[best] - earned[STATIC]
    error = float(gap.std(ddof=1)) / np.sqrt(len(gap)) if len(gap) > 1 else np.inf
    return best if gap.mean() > CAUTION * error else STATIC
