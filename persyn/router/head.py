"""The router's head on a frozen backbone: π(x) = b + W·φ(e(x)) + n(x), Bradley-Terry coefficients and what lies near.

b and W solve a convex problem: the cross-entropy of the preferences. n(x) is how much more than usual each teacher's
answers were worth on the nearest training prompts, which no smooth map of few prompts tells as well.

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
from persyn.router.kernel_features import KERNEL, Features, features
from persyn.router.neighbours import mean_of_nearest, typical
from persyn.router.preferences import Pairs, incidence, pairs
from persyn.router.surface_features import WIDTH

Floats = NDArray[np.float64]

SHRINKAGE = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # from nearly nothing to nearly free
PRIOR = 1e-4  # on the bias: a teacher that never loses stays finite
STEPS, STEPS_IN_TRIALS = 200, 40  # of L-BFGS: a trial's held-out reward is known long before its last digit
NEAREST = 80  # training prompts, and no more than a third of them
NEARBY = 2.0  # the weight of what lies near, in log-odds for each typical difference
CAUTION = 0.5  # standard errors by which held-out prompts must speak for routing
STATIC = np.inf  # the shrinkage that leaves nothing but the bias


class Neighbours(NamedTuple):
    vectors: Floats  # (T, D) of the training prompts
    rewards: Floats  # (T, M), NaN where missing, in units of the typical difference between two teachers

    def gain(self, made: Features, vectors: Floats) -> Floats:
        """(P, M): each teacher's mean reward on the nearest training prompts, less that on all of them."""
        count = min(NEAREST, max(1, len(self.vectors) // 3))
        near = mean_of_nearest(made.unit(vectors), made.unit(self.vectors), self.rewards, count)
        return np.asarray(near - typical(self.rewards))


class Head(NamedTuple):
    features: Features
    weights: Floats  # (F, M); zero where the static best is best
    bias: Floats  # (M,)
    neighbours: Neighbours | None = None  # none where the static best is best

    def coefficients(self, vectors: Floats) -> Floats:
        """(P, M) for prompt vectors (P, D)."""
        fitted = self.features.of(vectors) @ self.weights + self.bias
        if self.neighbours is not None:
            fitted = fitted + NEARBY * self.neighbours.gain(self.features, vectors)
        return np.asarray(fitted)

    def tensors(self) -> dict[str, Floats]:
        """What an artifact keeps besides the kernel's name, the width of the backbone's part and training vectors."""
        kept = {**self.features._asdict(), "weights": self.weights, "bias": self.bias}
        if self.neighbours is not None:
            kept["rewards"] = self.neighbours.rewards
        return {f"map.{name}": value for name, value in kept.items() if name not in ("kernel", "pooled")}

    @classmethod
    def from_tensors(
        cls, kernel: str, pooled: int | None, tensors: Mapping[str, NDArray[np.float32]], vectors: Floats
    ) -> "Head":
        """pooled: all of the vector where it is None. vectors: (T, D) of the training prompts."""
        names = ("centre", "spread", "landmarks", "projection", "mean")
        kept = {name: tensors[f"map.{name}"].astype(np.float64) for name in (*names, "weights", "bias")}
        made = Features(kernel, len(kept["centre"]) if pooled is None else pooled, *(kept[name] for name in names))
        rewards = tensors.get("map.rewards")
        near = None if rewards is None else Neighbours(vectors, rewards.astype(np.float64))
        return cls(made, kept["weights"], kept["bias"], near)


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
    given = vectors, rewards
    vectors, rewards = vectors[usable], rewards[usable]
    part = np.random.default_rng(seed).permutation(len(rewards)) % folds
    earned: dict[float, Floats] = {}
    for fold in range(min(folds, len(rewards))):
        train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        known = pairs(rewards[train], **preferences.model_dump())
        made = features(vectors[train], KERNEL, seed=seed, pooled=pooled)
        near = _neighbours(vectors[train], rewards[train])
        for shrinkage, head in path(made, vectors[train], known, teachers, near, steps=STEPS_IN_TRIALS):
            held = earned.setdefault(shrinkage, np.zeros(len(rewards)))
            held[test] = chosen_reward(head.coefficients(vectors[test]), rewards[test])
    chosen = _decide(earned)
    made = features(vectors, KERNEL, seed=seed, pooled=pooled)
    known = pairs(rewards, **preferences.model_dump())
    heads = dict(path(made, vectors, known, teachers, _neighbours(*given), until=chosen))
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
    made: Features, vectors: Floats, known: Pairs, teachers: int, near: Neighbours | None = None,
    *, until: float = 0.0, steps: int = STEPS,
) -> Iterator[tuple[float, Head]]:  # fmt: skip
    """Shrinkage and head, from the static best to the freest one, each fit starting from the one before."""
    seen = made.of(vectors)
    weights, bias = np.zeros((seen.shape[1], teachers)), static(known, teachers)
    yield STATIC, Head(made, weights, bias)
    for shrinkage in SHRINKAGE:
        if shrinkage < until:
            return
        weights, bias = _fit(seen, known, teachers, shrinkage, (weights, bias), steps)
        yield shrinkage, Head(made, weights, bias, near)


def _neighbours(vectors: Floats, rewards: Floats) -> Neighbours:
    first, second = np.triu_indices(rewards.shape[1], k=1)
    apart = np.abs(rewards[:, first] - rewards[:, second])
    apart = apart[apart > 0]
    return Neighbours(vectors, rewards / (apart.mean() if apart.size else 1.0))


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
