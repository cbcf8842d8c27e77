"""The router's rivals: regressions of every teacher's reward on the prompt's vector, without preferences.

A rival learns from vectors (P, D) and rewards (P, M), NaN where missing, and predicts (Q, M) for new vectors. Its one
parameter is chosen on a fifth of the training prompts, by the reward of the teachers that it would have chosen.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline

from persyn.router.kernel_features import LANDMARKS, centre_and_spread, scaled
from persyn.router.metrics import chosen_reward
from persyn.router.neighbours import column_means

Floats = NDArray[np.float64]
Rival = Callable[[Floats, Floats, Floats, float], Floats]

HIDDEN = 32  # units of the perceptron


def knn(vectors: Floats, rewards: Floats, new: Floats, count: float) -> Floats:
    """The mean reward on the nearest prompts by cosine; for a teacher without one there, its mean on all prompts."""
    known = ~np.isnan(rewards)
    regressor = KNeighborsRegressor(min(int(count), len(vectors)))  # at length 1 the nearest has the highest cosine
    mean, share = np.hsplit(_predict(regressor, vectors, np.hstack([np.nan_to_num(rewards), known]), new), 2)
    return np.where(share > 0, mean / np.where(share > 0, share, 1.0), column_means(rewards))


def kernel_ridge(vectors: Floats, rewards: Floats, new: Floats, ridge: float) -> Floats:
    """Ridge regression on a Gaussian kernel's Nyström features; a missing reward counts as the teacher's mean."""
    kernel = Nystroem(gamma=1.0, n_components=min(LANDMARKS, len(vectors)), random_state=0)
    return column_means(rewards) + _predict(make_pipeline(kernel, Ridge(ridge)), vectors, _gain(rewards), new)


def mlp(vectors: Floats, rewards: Floats, new: Floats, decay: float) -> Floats:
    """A perceptron with one hidden layer of tanh; a missing reward counts as the teacher's mean."""
    # By Adam: for several outputs scikit-learn's loss and gradient differ by a factor, which misleads L-BFGS (1.9.1).
    batch = min(200, len(vectors))
    regressor = MLPRegressor(
        hidden_layer_sizes=HIDDEN, activation="tanh", alpha=decay * batch, batch_size=batch, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return column_means(rewards) + _predict(regressor, vectors, _gain(rewards), new)


RIVALS: Mapping[str, tuple[Rival, tuple[float, ...]]] = {
    "knn": (knn, (10, 20, 40, 80, 160)),
    "kernel_ridge": (kernel_ridge, (0.3, 1, 3, 10, 30)),
    "mlp": (mlp, (1e-3, 3e-3, 1e-2, 3e-2)),
}


def rival_coefficients(vectors: Floats, rewards: Floats, new: Floats, *, seed: int) -> dict[str, Floats]:
    """Every rival's (Q, M) for `new`, with its parameter chosen on the training prompts alone."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    test, train = np.split(order, [max(1, len(order) // 5)])
    result = {}
    for name, (rival, values) in RIVALS.items():
        trials = [rival(vectors[train], rewards[train], vectors[test], value) for value in values]
        best = np.argmax([chosen_reward(trial, rewards[test]).sum() for trial in trials])
        result[name] = rival(vectors, rewards, new, values[best])
    return result


def _gain(rewards: Floats) -> Floats:
    """(P, M): each reward minus its teacher's mean; 0 where it is missing."""
    return np.nan_to_num(rewards - column_means(rewards))


def _predict(regressor: Any, vectors: Floats, target: Floats, new: Floats) -> Floats:
    """(Q, M) by a regressor on the vectors as the router's head reads them: standardised, then scaled to length 1."""
    scale = centre_and_spread(vectors)  # scikit-learn's own scaler blows up a column that is constant but for rounding
    return np.asarray(regressor.fit(scaled(vectors, *scale), target).predict(scaled(new, *scale)), dtype=np.float64)
