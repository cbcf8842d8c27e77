"""The router's head on a frozen backbone: Bradley-Terry coefficients π(x) = b + W·φ(e(x)), fitted as a convex problem.

The bias b holds what is true of the teachers on every prompt. How much a prompt may add to it is not ours to guess:
shrinkage and feature map are chosen by cross-validation on held-out *reward*, which is what routing is for, and
nothing at all is always one of the choices. Where the prompts say nothing, the router is the static best.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from persyn.config import Preferences
from persyn.preferences.pairs import Pairs, incidence, pairs
from persyn.router.features import KERNELS, Features, features

Floats = NDArray[np.float64]

SHRINKAGE = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # from nearly nothing to nearly free
PRIOR = 1e-4  # on the bias: a teacher that never loses stays finite
RIDGE = 3.0  # of the regression that `blended` adds; its scale is the preferences' own
STEPS, STEPS_IN_TRIALS = 200, 40  # of L-BFGS: a trial's held-out reward is known long before its last digit


class Head(NamedTuple):
    features: Features
    weights: Floats  # (F, M); zero where the static best is best
    bias: Floats  # (M,)

    def coefficients(self, vectors: Floats) -> Floats:
        """(P, M) for prompt vectors (P, D)."""
        return np.asarray(self.features.of(vectors) @ self.weights + self.bias)

    def tensors(self) -> dict[str, Floats]:
        """What an artifact keeps besides the kernel's name."""
        made = self.features
        kept = {**made._asdict(), "weights": self.weights, "bias": self.bias}
        return {f"map.{name}": value for name, value in kept.items() if name != "kernel"}

    @classmethod
    def from_tensors(cls, kernel: str, tensors: Mapping[str, NDArray[np.float32]]) -> "Head":
        names = ("centre", "spread", "landmarks", "projection", "mean", "weights", "bias")
        kept = [tensors[f"map.{name}"].astype(np.float64) for name in names]
        return cls(Features(kernel, *kept[:5]), *kept[5:])


class Candidate(NamedTuple):
    kernel: str
    shrinkage: float  # infinite: the static best
    blended: bool  # with a regression on the rewards themselves


class Choice(NamedTuple):
    """What the cross-validation chose, and its mean reward on prompts left out beside the static best's."""

    kernel: str
    shrinkage: float
    blended: bool
    reward: float
    static_reward: float

    def as_metrics(self) -> dict[str, float | str | None]:
        return {
            "kernel": self.kernel,
            "shrinkage": None if np.isinf(self.shrinkage) else self.shrinkage,
            "blended": float(self.blended),
            "held_out_reward": self.reward,
            "static_held_out_reward": self.static_reward,
        }


STATIC = Candidate("static", np.inf, False)


def select(
    vectors: Floats, rewards: Floats, preferences: Preferences, *, folds: int, seed: int,
    kernels: Sequence[str] = KERNELS,
) -> tuple[Head, Choice]:  # fmt: skip
    """Choose kernel and shrinkage on the prompts given, and fit on all of them. vectors (P, D), rewards (P, M)."""
    usable = np.flatnonzero((~np.isnan(rewards)).sum(axis=1) >= 2)
    if usable.size == 0:
        known = pairs(rewards, **preferences.model_dump())
        return next(path(vectors, known, rewards, "linear", seed=seed))[1], Choice(*STATIC, 0.0, 0.0)
    vectors, rewards = vectors[usable], rewards[usable]
    part = np.random.default_rng(seed).permutation(len(rewards)) % folds
    earned: dict[Candidate, Floats] = {}
    for fold in range(min(folds, len(rewards))):
        train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        known = pairs(rewards[train], **preferences.model_dump())
        for kernel in kernels:
            trials = path(vectors[train], known, rewards[train], kernel, seed=seed, steps=STEPS_IN_TRIALS)
            for candidate, head in trials:
                held = earned.setdefault(candidate, np.zeros(len(rewards)))
                held[test] = chosen_reward(head.coefficients(vectors[test]), rewards[test])
    chosen = _decide(earned)
    known = pairs(rewards, **preferences.model_dump())
    fitted = kernels[0] if chosen == STATIC else chosen.kernel
    heads = dict(path(vectors, known, rewards, fitted, seed=seed, until=chosen.shrinkage))
    means = {key: float(values.mean()) if values.size else 0.0 for key, values in earned.items()}
    return heads[chosen], Choice(*chosen, means.get(chosen, 0.0), means.get(STATIC, 0.0))


def static(known: Pairs, teachers: int) -> Floats:
    """(M,) Bradley-Terry strengths over all pairs, with mean 0: the best coefficients that ignore the prompt."""
    return _fit(np.empty((len(known.weight), 0)), known, teachers, np.inf)[1]


def plain(vectors: Floats, rewards: Floats, preferences: Preferences, *, seed: int) -> Head:
    """The paper's head on a frozen backbone: linear, as good as free, nothing selected."""
    known = pairs(rewards, **preferences.model_dump())
    made = features(vectors, "linear", seed=seed)
    return Head(made, *_fit(made.of(vectors), known, rewards.shape[1], 1e-6))


def path(
    vectors: Floats, known: Pairs, rewards: Floats, kernel: str, *, seed: int, until: float = 0.0, steps: int = STEPS
) -> Iterator[tuple[Candidate, Head]]:
    """Heads from the static best to the freest one, each fit starting from the one before, alone and blended."""
    made = features(vectors, kernel, seed=seed)
    seen, teachers = made.of(vectors), rewards.shape[1]
    bias = static(known, teachers)
    weights = np.zeros((seen.shape[1], teachers))
    yield STATIC, Head(made, weights, bias)
    regressed = _regress(seen, rewards)
    for shrinkage in SHRINKAGE:
        if shrinkage < until:
            return
        weights, bias = _fit(seen, known, teachers, shrinkage, (weights, bias), steps)
        yield Candidate(kernel, shrinkage, False), Head(made, weights, bias)
        yield Candidate(kernel, shrinkage, True), Head(made, _blend(seen, weights, regressed), bias)


def _regress(seen: Floats, rewards: Floats) -> Floats:
    """(F, M) ridge regression of each teacher's lead over its prompt's mean reward; a missing one is no lead."""
    known = ~np.isnan(rewards)
    mean = np.where(known, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    lead = np.where(known, rewards - mean, 0.0)
    lead = np.where(known, lead - lead.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)
    return np.asarray(np.linalg.solve(seen.T @ seen + RIDGE * np.eye(seen.shape[1]), seen.T @ lead))


def _blend(seen: Floats, weights: Floats, regressed: Floats) -> Floats:
    """Half the preferences' weights and half the regression's, at the preferences' scale: log-odds stay log-odds."""
    spread, other = float((seen @ weights).std()), float((seen @ regressed).std())
    return (weights + regressed * (spread / other)) / 2 if other > 0 else weights


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


def _decide(earned: dict[Candidate, Floats]) -> Candidate:
    """The best mean, or the most shrunken one that no more than half its standard error separates from it.

    Against nothing at all a whole standard error is asked: routing must earn its keep.
    """
    if STATIC not in earned or len(earned) < 2:
        return STATIC
    best = max(earned, key=lambda key: float(earned[key].mean()))

    def behind(key: Candidate) -> float:
        gap = earned[best] - earned[key]
        error = float(gap.std(ddof=1)) / np.sqrt(len(gap)) if len(gap) > 1 else np.inf
        return float(gap.mean()) / error if error > 0 else 0.0

    if behind(STATIC) <= 1.0:
        return STATIC
    alike = [key for key in earned if key != STATIC and key._replace(shrinkage=best.shrinkage) == best]
    return max((key for key in alike if behind(key) <= 0.5), key=lambda key: key.shrinkage)
