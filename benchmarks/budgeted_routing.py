"""Routing within budgets: how long 100,000 prompts × 20 teachers take, and how far the result is from a solver's.

The whole size is timed against the limit of a minute. At a smaller size the same problem goes to HiGHS as a linear
programme, and to the Hungarian method at a smaller one still; the gap is the difference of the sums, which must be 0.
Three kinds of coefficients: independent, one teacher ahead everywhere, and few values with ties throughout.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_matrix, eye, kron

from persyn.policies.assignment import assign

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def coefficients(kind: str, prompts: int, teachers: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(prompts, teachers))
    if kind == "independent":
        return np.asarray(noise)
    if kind == "one ahead":
        return np.asarray(0.3 * noise + np.linspace(2.0, 0.0, teachers))
    return np.asarray(rng.integers(0, 3, (prompts, teachers)), dtype=np.float64)


def capacity(prompts: int, teachers: int) -> Counts:
    """Half of the teachers, the best ones, may take a fiftieth of the prompts each; the others an eighth."""
    room = np.full(teachers, prompts // 8)
    room[: teachers // 2] = prompts // 50
    return room


def highs(values: Floats, room: Counts) -> float:
    prompts, teachers = values.shape
    each = kron(eye(prompts), np.ones((1, teachers)), format="csr")
    load = csr_matrix(kron(np.ones((1, prompts)), eye(teachers)))
    found = linprog(
        -values.ravel(), A_ub=load, b_ub=room, A_eq=each, b_eq=np.ones(prompts), bounds=(0, 1), method="highs"
    )
    return -float(found.fun)


def hungarian(values: Floats, room: Counts) -> float:
    columns = np.repeat(np.arange(len(room)), np.minimum(room, len(values)))
    rows, places = linear_sum_assignment(values[:, columns], maximize=True)
    return float(values[rows, columns[places]].sum())


def total(values: Floats, room: Counts) -> float:
    chosen = assign(values, room)
    if (np.bincount(chosen, minlength=len(room)) > room).any():
        raise SystemExit("a capacity is exceeded")
    return float(values[np.arange(len(chosen)), chosen].sum())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budgeted_routing")
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--teachers", type=int, default=20)
    parser.add_argument("--small", type=int, default=5_000, help="prompts for HiGHS")
    parser.add_argument("--smallest", type=int, default=1_000, help="prompts for the Hungarian method")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for kind in ("independent", "one ahead", "ties"):
        values = coefficients(kind, options.prompts, options.teachers)
        seconds, _ = _timed(lambda v=values: total(v, capacity(*v.shape)), options.repeat)
        print(f"{kind:<12} {options.prompts:>7} × {options.teachers}: {seconds:.2f} s (median of {options.repeat})")
        for name, solver, size in (("HiGHS", highs, options.small), ("Hungarian", hungarian, options.smallest)):
            _compare(name, solver, coefficients(kind, size, options.teachers), options.repeat)


def _compare(name: str, solver: Callable[[Floats, Counts], float], values: Floats, repeat: int) -> None:
    room = capacity(*values.shape)
    theirs, bound = _timed(lambda: solver(values, room), 1)
    ours, reached = _timed(lambda: total(values, room), repeat)
    gap = (bound - reached) / abs(bound)
    print(
        f"{'':<12} {len(values):>7} × {len(room)}: {ours:.3f} s, {name} {theirs:.2f} s"
        f" ({theirs / ours:.0f} ×), relative gap {gap:.1e}"
    )


def _timed(work: Callable[[], float], repeat: int) -> tuple[float, float]:
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        value = work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), value


if __name__ == "__main__":
    main()
