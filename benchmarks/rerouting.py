"""Measures what a second and third teacher add where the first one failed, against answers, tokens and rival rules.

`--train FILE` holds lines `{"messages": [...], "quality": {teacher: score}}` or `{"messages": [...], "responses":
{teacher: {"text": ..., "quality": score}}}`, plain or gzipped. With `--test FILE` everything is learnt on the first and
measured on the second; without, the file is cut into as many parts as there are seeds and each is held out once. The
thresholds that keep a budget are found on the training prompts alone, with coefficients by routers that never saw them.

- **router**: routed once. **best of all**: every teacher asked.
- **≤ n**: the product's rule with n answers at most; **budget b**: with b answers a prompt on average, set on the
  training prompts. **next coefficient**, **static order**, **random**: other choices of the next teacher.
- **cheap first**: the strongest teacher costs ten times any other, and the first teacher is chosen by the rule too.
- **accepts a%**: a verifier that takes a% of the wrong answers for right ones, in training and in use.

The files hold one answer of each teacher, so that asking the same teacher again cannot be measured on them. A token
is four characters of an answer. Intervals are 95%, over prompts.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import router_quality
from persyn.config import Preferences
from persyn.errors import PersynError
from persyn.inference import models
from persyn.policies.rerouting import STOP, CalibrationSample, Replayed, Rule, next_teachers, replay, threshold_for
from persyn.rewards.combine import normalise
from persyn.router import head
from persyn.router.metrics import bootstrap
from persyn.router.surface_features import surface

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

BUDGETS = (1.1, 1.25, 1.4, 1.5, 1.75, 1.9, 2.25)
ACCEPTED = (0.05, 0.11, 0.2)
DEAR = 10.0  # times the price of the others, for the strongest teacher


class Held(NamedTuple):
    """A part that is held out, and all that was learnt on the rest."""

    sample: CalibrationSample
    coefficients: Floats  # (P, M)
    quality: Floats  # (P, M)
    tokens: Floats  # (P, M), 0 where there are no texts

    @property
    def static(self) -> Floats:
        """(M,) each teacher's mean on the training prompts."""
        return np.asarray(np.nanmean(self.sample.quality, axis=0))


class Measured(NamedTuple):
    """A policy on the prompts of a part."""

    reward: Floats  # (P,)
    answers: Floats  # (P,)
    tokens: Floats  # (P,)
    dear: Floats  # (P,) whether the strongest teacher was asked


Policy = Callable[[Held, float, int], Measured]  # the part, the bar, a seed


def measured(held: Held, outcome: Replayed) -> Measured:
    rows = np.arange(len(held.quality))
    reward = np.nan_to_num(held.quality[rows, outcome.teacher], nan=float(np.nanmin(held.sample.quality)))
    tokens = np.where(outcome.asked, held.tokens, 0.0).sum(axis=1)
    strongest = int(held.static.argmax())
    return Measured(reward, outcome.asked.sum(axis=1).astype(np.float64), tokens, outcome.asked[:, strongest] * 1.0)


def rule(held: Held, bar: float, attempts: int | None = None) -> Rule:
    teachers = held.quality.shape[1]
    return Rule(bar, np.ones(teachers), attempts or teachers)


def product(attempts: int) -> Policy:
    return lambda held, bar, seed: measured(
        held, replay(held.sample, rule(held, bar, attempts), held.coefficients, held.quality, _routed(held))
    )


def within(budget: float) -> Policy:
    def policy(held: Held, bar: float, seed: int) -> Measured:
        free = rule(held, bar)
        first = held.sample.coefficients.argmax(axis=1)
        kept = free._replace(threshold=threshold_for(held.sample, free, first, budget))
        return measured(held, replay(held.sample, kept, held.coefficients, held.quality, _routed(held)))

    return policy


def in_order(order: Callable[[Held, int], Floats], attempts: int) -> Policy:
    """Ask by falling preference (P, M) until an answer reaches the bar."""

    def policy(held: Held, bar: float, seed: int) -> Measured:
        ranked = np.argsort(-order(held, seed), axis=1, kind="stable")
        asked = np.zeros(held.quality.shape, dtype=bool)
        open_ = np.arange(len(asked))
        for place in range(attempts):
            asked[open_, ranked[open_, place]] = True
            open_ = open_[~(held.quality[open_, ranked[open_, place]] >= bar)]
        best = np.where(asked, np.nan_to_num(held.quality, nan=-np.inf), -np.inf).argmax(axis=1)
        return measured(held, Replayed(best, np.empty(0), asked, np.empty(0)))

    return policy


def cheap_first(held: Held, bar: float, seed: int) -> Measured:
    price = np.ones(held.quality.shape[1])
    price[int(held.static.argmax())] = DEAR
    dear = rule(held, bar)._replace(price=price)
    first = next_teachers(held.sample, dear, held.coefficients, np.full(held.quality.shape, np.nan)).teacher
    first = np.where(first == STOP, _routed(held), first)
    return measured(held, replay(held.sample, dear, held.coefficients, held.quality, first))


def deceived(share: float) -> Policy:
    """Up to three answers, where each one below the bar passes for a right one with this chance."""

    def policy(held: Held, bar: float, seed: int) -> Measured:
        rng = np.random.default_rng(seed)
        seen = [
            np.where((quality < bar) & (rng.random(quality.shape) < share), bar, quality)
            for quality in (held.sample.quality, held.quality)
        ]
        sample = CalibrationSample(held.sample.coefficients, seen[0])
        return measured(held, replay(sample, rule(held, bar, 3), held.coefficients, seen[1], _routed(held)))

    return policy


def _routed(held: Held) -> Indices:
    return np.asarray(held.coefficients.argmax(axis=1))


def _as_routed(held: Held, seed: int) -> Floats:
    return held.coefficients


def _as_static(held: Held, seed: int) -> Floats:
    return np.broadcast_to(held.static, held.quality.shape)


def _at_random(held: Held, seed: int) -> Floats:
    order = np.random.default_rng(seed).random(held.quality.shape)
    order[np.arange(len(order)), _routed(held)] = 2.0  # the first is the router's
    return order


POLICIES: dict[str, Policy] = {
    "static best": in_order(_as_static, 1),
    "router": product(1),
    **{f"≤ {n}": product(n) for n in (2, 3, 4)},
    **{f"budget {budget:g}": within(budget) for budget in BUDGETS},
    **{f"next coefficient ≤ {n}": in_order(_as_routed, n) for n in (2, 3)},
    **{f"static order ≤ {n}": in_order(_as_static, n) for n in (2, 3)},
    "random second": in_order(_at_random, 2),
    "cheap first": cheap_first,
    **{f"≤ 3, accepts {share:.0%}": deceived(share) for share in ACCEPTED},
}


def held_out(rows: list[dict[str, Any]], tests: list[dict[str, Any]], args: argparse.Namespace) -> Iterator[Held]:
    """Each part with what was learnt without it."""
    teachers = sorted({name for row in rows for name in row["quality"]})
    learn, test = router_quality.data(rows, teachers), router_quality.data(tests, teachers) if tests else None
    rewards = np.concatenate([learn.rewards, test.rewards]) if test else learn.rewards
    messages = learn.messages + (test.messages if test else [])
    tokens = np.array([[row.get("tokens", {}).get(name, 0.0) for name in teachers] for row in rows + tests])
    config = router_quality.settings("minilm-frozen", {})
    path = models.model_path(config.backbone, config.revision, args.home)
    vectors = router_quality.embedded(messages, config, path, args.cache)
    seen, taught = np.hstack([vectors, surface(messages)]), normalise(rewards, "minmax")
    for own, val in router_quality.splits(len(learn.rewards), len(rewards), args.seeds):
        fitted, chosen = head.select(
            seen[own], taught[own], Preferences(), folds=config.folds, seed=0, pooled=vectors.shape[1]
        )
        sample = CalibrationSample(chosen.coefficients, rewards[own])
        yield Held(sample, fitted.coefficients(seen[val]), rewards[val], tokens[val])
        if test:
            return


def report(parts: list[tuple[Held, dict[str, Measured]]]) -> dict[str, Any]:
    """Every policy over all parts; the gap is that between the static best and the best of all."""

    def joined(name: str, field: str) -> Floats:
        return np.concatenate([getattr(policies[name], field) for _, policies in parts])

    best = np.concatenate([np.nanmax(held.quality, axis=1) for held, _ in parts])
    static = joined("static best", "reward")
    table = {}
    for name in parts[0][1]:
        reward = joined(name, "reward")
        share = bootstrap(reward - static, below=best - static)
        table[name] = {
            "reward": list(bootstrap(reward) or ()),
            "gap": list(share) if share else None,
            "answers": float(joined(name, "answers").mean()),
            "tokens": float(joined(name, "tokens").mean()),
            "strongest": float(joined(name, "dear").mean()),
        }
    return {"best_of_all": float(best.mean()), "prompts": len(best), "policies": table}


def show(found: dict[str, Any]) -> None:
    print(f"{'':22}{'reward':>8}{'of gap':>8}{'95%':>18}{'answers':>9}{'tokens':>8}{'strongest':>11}")
    for name, row in found["policies"].items():
        share, low, high = row["gap"] or (np.nan,) * 3
        interval = f"[{low:.3f}, {high:.3f}]"
        print(
            f"{name:22}{row['reward'][0]:8.3f}{share:8.3f}{interval:>18}{row['answers']:9.2f}{row['tokens']:8.0f}"
            f"{row['strongest']:11.2f}"
        )
    print(f"{'best of all':22}{found['best_of_all']:8.3f}{1:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerouting", description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bar", type=float, default=1.0, help="the quality that is good enough")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path(".persyn"), help="where converted models are kept")
    parser.add_argument("--cache", type=Path, help="a folder that keeps embeddings between calls")
    args = parser.parse_args()
    rows, tests = router_quality.read(args.train), router_quality.read(args.test) if args.test else []
    parts = []
    try:
        for seed, held in enumerate(held_out(rows, tests, args)):
            parts.append((held, {name: policy(held, args.bar, seed) for name, policy in POLICIES.items()}))
    except PersynError as exc:
        sys.exit(str(exc))
    found = report(parts)
    show(found)
    if args.out:
        args.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
