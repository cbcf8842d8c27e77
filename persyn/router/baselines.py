"""What the router must beat: ways to guess every teacher's reward from the prompt's vector, without preferences.

Each is fitted to vectors (P, D) and rewards (P, M) and gives (Q, M) for new vectors. Its one parameter is chosen on a
fifth of the training prompts, by the reward of what it would have chosen.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from persyn.router import neighbours
from persyn.router.kernel_features import centre_and_spread, fit_features, scaled
from persyn.router.metrics import chosen_reward
from persyn.router.neighbours import column_means

Floats = NDArray[np.float64]
Method = Callable[[Floats, Floats, Floats, float], Floats]


def nearest(vectors: Floats, rewards: Floats, new: Floats, k: float) -> Floats:
    """The mean reward on the k nearest prompts by cosine; of a teacher without any there, its mean on all."""
    place = centre_and_spread(vectors)
    return neighbours.mean_of_nearest(scaled(new, *place), scaled(vectors, *place), rewards, int(k))


def kernel_ridge(vectors: Floats, rewards: Floats, new: Floats, ridge: float) -> Floats:
    """Kernel ridge regression on each teacher's reward; a missing one counts as the teacher's mean."""
    made = fit_features(vectors, "rbf-1", seed=0)
    seen, base = made.of(vectors), column_means(rewards)
    target = np.where(np.isnan(rewards), 0.0, rewards - base)
    weights = np.linalg.solve(seen.T @ seen + ridge * np.eye(seen.shape[1]), seen.T @ target)
    return np.asarray(made.of(new) @ weights + base)


def perceptron(vectors: Floats, rewards: Floats, new: Floats, decay: float, hidden: int = 32) -> Floats:
    """One hidden layer of tanh on the scaled vector, squared error on each teacher's reward."""
    place, base, width = centre_and_spread(vectors), column_means(rewards), rewards.shape[1]
    seen, known = scaled(vectors, *place), ~np.isnan(rewards)
    target = np.where(known, rewards - base, 0.0)
    shape = (seen.shape[1], hidden)
    cut = shape[0] * hidden

    def output(flat: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        inner = np.tanh(inputs @ flat[:cut].reshape(shape))
        return inner, inner @ flat[cut:].reshape(hidden, width)

    def loss(flat: Floats) -> tuple[float, Floats]:
        inner, guess = output(flat, seen)
        error = np.where(known, guess - target, 0.0) / len(seen)
        back = (error @ flat[cut:].reshape(hidden, width).T) * (1 - inner**2)
        slope = np.concatenate([(seen.T @ back).ravel(), (inner.T @ error).ravel()]) + decay * flat
        return 0.5 * float((error**2).sum()) * len(seen) + 0.5 * decay * float(flat @ flat), slope

    start = np.random.default_rng(0).normal(size=cut + hidden * width) / np.sqrt(hidden)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 150}).x
    return np.asarray(output(found, scaled(new, *place))[1] + base)


METHODS: dict[str, tuple[Method, tuple[float, ...]]] = {
    "knn": (nearest, (10, 20, 40, 80, 160)),
    "kernel_ridge": (kernel_ridge, (0.3, 1, 3, 10, 30)),
    "mlp": (perceptron, (3e-4, 1e-3, 3e-3)),
}


def rival_coefficients(vectors: Floats, rewards: Floats, new: Floats, *, seed: int) -> dict[str, Floats]:
    """Every method's (Q, M) for `new`, its parameter chosen on the training prompts alone."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    aside = max(1, len(order) // 5)
    test, train = order[:aside], order[aside:]
    result = {}
    for name, (method, values) in METHODS.items():
        found = [
            chosen_reward(method(vectors[train], rewards[train], vectors[test], value), rewards[test])
            for value in values
        ]
        best = max(range(len(values)), key=lambda at: float(found[at].sum()))
        result[name] = method(vectors, rewards, new, values[best])
    return result
