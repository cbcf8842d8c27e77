"""The router's head on a frozen backbone: π(x) = b + W·φ(e(x)) + n(x), one Bradley-Terry coefficient per teacher.

b and W solve a convex problem: the cross-entropy of the preferences. n(x) is each teacher's gain on the nearest
training prompts over its mean on all of them, which no smooth map of few prompts tells as well.

The bias b holds what is true of the teachers on every prompt. How much a prompt may add to it is measured, not guessed:
cross-validation chooses the shrinkage by held-out *reward*, since a higher reward is the purpose of routing, and adding
nothing is always one of the choices. Where the prompts tell nothing, the router is the static best.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from persyn.config import Preferences, Router
from persyn.router.kernel_features import KERNEL, Features, fit_features
from persyn.router.metrics import chosen_reward
from persyn.router.neighbours import column_means, mean_of_nearest, near_enough
from persyn.router.off_policy import Routed
from persyn.router.preferences import Pairs, incidence, join, pairs, typical_gap
from persyn.router.surface_features import WIDTH

Floats = NDArray[np.float64]
Progress = Callable[[], None]

SHRINKAGE = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # from nearly nothing to nearly free
PRIOR = 1e-4  # on the bias: a teacher that never loses stays finite
STEPS, STEPS_IN_TRIALS = 200, 40  # of L-BFGS; a trial's held-out reward settles long before its last digit
NEARBY = 2.0  # the weight of n(x), in log-odds for each typical difference
CAUTION = 0.5  # standard errors by which routing must beat the static best on held-out prompts
STATIC = np.inf  # the shrinkage that leaves nothing but the bias


def unwatched() -> None:
    """Progress that nobody wants to know of."""


class Neighbours(NamedTuple):
    """The training prompts, as n(x) reads them."""

    vectors: Floats  # (T, D)
    rewards: Floats  # (T, M), NaN where missing, in units of the typical difference between two teachers

    def gain(self, features: Features, vectors: Floats) -> Floats:
        """(P, M): each teacher's mean reward on the nearest training prompts, minus its mean on all of them."""
        count = near_enough(len(self.vectors))
        near = mean_of_nearest(features.unit(vectors), features.unit(self.vectors), self.rewards, count)
        return np.asarray(near - column_means(self.rewards))


class Head(NamedTuple):
    """A fitted head; without neighbours n(x) is 0."""

    features: Features
    weights: Floats  # (F, M); zero for the static best
    bias: Floats  # (M,)
    neighbours: Neighbours | None = None  # None for the static best

    def coefficients(self, vectors: Floats) -> Floats:
        """(P, M) for prompt vectors (P, D)."""
        fitted = self.features.of(vectors) @ self.weights + self.bias
        if self.neighbours is not None:
            fitted = fitted + NEARBY * self.neighbours.gain(self.features, vectors)
        return np.asarray(fitted)

    def tensors(self) -> dict[str, Floats]:
        """The head's arrays for an artifact, which keeps the kernel's name, `pooled` and the training vectors apart."""
        kept = {**self.features._asdict(), "weights": self.weights, "bias": self.bias}
        if self.neighbours is not None:
            kept["rewards"] = self.neighbours.rewards
        return {f"map.{name}": value for name, value in kept.items() if name not in ("kernel", "pooled")}

    @classmethod
    def from_tensors(
        cls, kernel: str, pooled: int | None, tensors: Mapping[str, NDArray[np.float32]], vectors: Floats
    ) -> "Head":
        """The head that `tensors` wrote. pooled: None means all of D. vectors: (T, D) of the training prompts."""
        names = ("centre", "spread", "landmarks", "projection", "mean")
        kept = {name: tensors[f"map.{name}"].astype(np.float64) for name in (*names, "weights", "bias")}
        width = len(kept["centre"]) if pooled is None else pooled
        features = Features(kernel, width, *(kept[name] for name in names))
        rewards = tensors.get("map.rewards")
        near = None if rewards is None else Neighbours(vectors, rewards.astype(np.float64))
        return cls(features, kept["weights"], kept["bias"], near)


class Selection(NamedTuple):
    """The shrinkage that cross-validation chose, and its mean reward on held-out prompts beside the static best's."""

    shrinkage: float
    reward: float
    static_reward: float
    coefficients: Floats  # (P, M), each prompt's by a head that never saw it; NaN where its rewards are too few

    def as_metrics(self) -> dict[str, float | None]:
        return {
            "shrinkage": None if np.isinf(self.shrinkage) else self.shrinkage,
            "held_out_reward": self.reward,
            "static_held_out_reward": self.static_reward,
        }


class Fitted(NamedTuple):
    """A head, its metrics, and the coefficients of its training prompts by heads that never saw them."""

    head: Head
    metrics: dict[str, float | None]
    held_out: Floats | None  # (P, M), where cross-validation made them


def fit(
    vectors: Floats,
    rewards: Floats,
    config: Router,
    preferences: Preferences,
    *,
    seed: int,
    on_progress: Progress = unwatched,
    routed: Routed | None = None,
) -> Fitted:
    """The head that the configuration asks for; for (P, D) vectors of `train.prompt_vectors`.

    on_progress: called after each fit of a candidate. routed: see `select`; a plain head does not read it.
    """

    pooled = vectors.shape[1] - (WIDTH if config.sees_surface else 0)
    if config.head == "plain":
        return Fitted(plain(vectors, rewards, preferences, seed=seed, pooled=pooled), {}, None)
    head, selection = select(
        vectors, rewards, preferences, folds=config.folds, seed=seed, pooled=pooled, on_progress=on_progress,
        routed=routed,
    )  # fmt: skip
    return Fitted(head, selection.as_metrics(), selection.coefficients)


def select(
    vectors: Floats,
    rewards: Floats,
    preferences: Preferences,
    *,
    folds: int,
    seed: int,
    pooled: int | None = None,
    on_progress: Progress = unwatched,
    routed: Routed | None = None,
) -> tuple[Head, Selection]:
    """Choose the shrinkage by cross-validation, then fit on all prompts. vectors (P, D), rewards (P, M).

    routed: further prompts that every fit learns from; only the calibration prompts are held out.
    """
    usable, teachers = np.flatnonzero((~np.isnan(rewards)).sum(axis=1) >= 2), rewards.shape[1]
    held_out = np.full(rewards.shape, np.nan)
    if usable.size == 0:
        features = fit_features(vectors, "linear", seed=seed, pooled=pooled)
        nothing = Head(features, np.zeros((len(features.mean), teachers)), np.zeros(teachers))
        return nothing, Selection(STATIC, 0.0, 0.0, held_out)
    near = _neighbours(vectors, rewards)
    vectors, rewards = vectors[usable], rewards[usable]
    routed = None if routed is None else routed.beside(usable)
    coefficients = _held_out(
        vectors, rewards, preferences, folds=folds, seed=seed, pooled=pooled, on_progress=on_progress, routed=routed
    )
    reward = {shrinkage: chosen_reward(values, rewards) for shrinkage, values in coefficients.items()}
    chosen = _decide(reward)
    held_out[usable] = coefficients[chosen]
    features = fit_features(vectors, KERNEL, seed=seed, pooled=pooled)
    taught, known = _taught(features, vectors, rewards, preferences, routed)
    heads = {}
    for shrinkage, head in regularisation_path(features, taught, known, teachers, near, until=chosen):
        heads[shrinkage] = head
        on_progress()
    means = float(reward[chosen].mean()), float(reward[STATIC].mean())
    return heads[chosen], Selection(chosen, *means, held_out)


def static(known: Pairs, teachers: int) -> Floats:
    """(M,) Bradley-Terry strengths over all pairs, with mean 0: the best coefficients that ignore the prompt."""
    return _fit(np.empty((len(known.weight), 0)), known, teachers, np.inf)[1]


def plain(vectors: Floats, rewards: Floats, preferences: Preferences, *, seed: int, pooled: int | None = None) -> Head:
    """The paper's head on a frozen backbone: linear, almost without a penalty, and nothing selected."""
    known = pairs(rewards, **preferences.model_dump())
    features = fit_features(vectors, "linear", seed=seed, pooled=pooled)
    return Head(features, *_fit(features.of(vectors), known, rewards.shape[1], 1e-6))


def regularisation_path(
    features: Features, vectors: Floats, known: Pairs, teachers: int, near: Neighbours | None = None,
    *, until: float = 0.0, steps: int = STEPS,
) -> Iterator[tuple[float, Head]]:  # fmt: skip
    """Each shrinkage with its head, from the static best down to `until`; each fit starts from the one before."""
    inputs = features.of(vectors)
    weights, bias = np.zeros((inputs.shape[1], teachers)), static(known, teachers)
    yield STATIC, Head(features, weights, bias)
    for shrinkage in SHRINKAGE:
        if shrinkage < until:
            return
        weights, bias = _fit(inputs, known, teachers, shrinkage, (weights, bias), steps)
        yield shrinkage, Head(features, weights, bias, near)


def _held_out(
    vectors: Floats,
    rewards: Floats,
    preferences: Preferences,
    *,
    folds: int,
    seed: int,
    pooled: int | None,
    on_progress: Progress,
    routed: Routed | None,
) -> dict[float, Floats]:
    """(P, M) for each shrinkage: the coefficients of every prompt, by a head that never saw the prompt."""
    part = np.random.default_rng(seed).permutation(len(rewards)) % folds
    held_out: dict[float, Floats] = {}
    for fold in range(min(folds, len(rewards))):
        train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        features = fit_features(vectors[train], KERNEL, seed=seed, pooled=pooled)
        beside = None if routed is None else routed.beside(train)
        taught, known = _taught(features, vectors[train], rewards[train], preferences, beside)
        near = _neighbours(vectors[train], rewards[train])
        path = regularisation_path(features, taught, known, rewards.shape[1], near, steps=STEPS_IN_TRIALS)
        for shrinkage, head in path:
            held_out.setdefault(shrinkage, np.zeros(rewards.shape))[test] = head.coefficients(vectors[test])
            on_progress()
    return held_out


def _taught(
    features: Features, vectors: Floats, rewards: Floats, preferences: Preferences, routed: Routed | None
) -> tuple[Floats, Pairs]:
    """The prompts that a head learns from and their pairs: the calibration's, and behind them the routed ones."""
    known = pairs(rewards, **preferences.model_dump())
    if routed is None:
        return vectors, known
    return np.vstack([vectors, routed.vectors]), join(
        known, routed.preferences(features, vectors, rewards, preferences)
    )


def _neighbours(vectors: Floats, rewards: Floats) -> Neighbours:
    """The prompts with their rewards in units of the mean difference between two teachers that differ."""
    return Neighbours(vectors, rewards / typical_gap(rewards))


def _fit(
    inputs: Floats, known: Pairs, teachers: int, shrinkage: float, start: tuple[Floats, Floats] | None = None,
    steps: int = STEPS,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Minimise mean weighted cross-entropy per preference + ½·shrinkage·|W|², over W (F, M) and b (M,)."""
    z = incidence(teachers)
    weight = known.weight / max(known.weight.sum(), 1e-12)
    width = inputs.shape[1]
    ridge = np.full((width + 1, 1), shrinkage if width else 0.0)
    ridge[-1] = PRIOR

    def loss(flat: Floats) -> tuple[float, Floats]:
        both = flat.reshape(width + 1, teachers)
        lead = (inputs @ both[:-1] + both[-1]) @ z.T  # zᵀπ(x) of every pair, (P, K)
        value = float((weight * (np.logaddexp(0.0, lead) - known.target * lead)).sum())
        per_teacher = (weight * (expit(lead) - known.target)) @ z
        slope = np.vstack([inputs.T @ per_teacher, per_teacher.sum(axis=0)]) + ridge * both
        return value + 0.5 * float((ridge * both**2).sum()), slope.ravel()

    weights, bias = start or (np.zeros((width, teachers)), np.zeros(teachers))
    solution = minimize(
        loss, np.vstack([weights, bias]).ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": steps, "maxcor": 10, "ftol": 1e-7, "gtol": 1e-7},
    ).x.reshape(width + 1, teachers)  # fmt: skip
    return solution[:-1], solution[-1] - solution[-1].mean()


def _decide(held_out: Mapping[float, Floats]) -> float:
    """The shrinkage of the best mean, or the static best where no more than half a standard error separates the two."""
    best = max(held_out, key=lambda shrinkage: float(held_out[shrinkage].mean()))
    gap = held_out[best] - held_out[STATIC]
    error = float(gap.std(ddof=1)) / np.sqrt(len(gap)) if len(gap) > 1 else np.inf
    return best if gap.mean() > CAUTION * error else STATIC
