"""Measures what further answers add where the first one is not good enough, against their number and rival rules.

`--train FILE` holds lines `{"messages": [...], "quality": {teacher: score}}` or `{"messages": [...], "responses":
{teacher: {"text": ..., "quality": score}}}`, plain or gzipped. With `--test FILE` everything is learnt on the first and
measured on the second; without, each seed shuffles the file and cuts it into parts, and each part is held out once.
Routers, bars, prices and the thresholds that keep a budget come from the training prompts alone.

- **static best**, **router**: one answer. **best of all**: every teacher asked.
- **≤ n**: the product's rule with n answers at most; **budget b**: with b answers a prompt on average; **tokens b**:
  with b times the tokens of the first answers; **default**: as in a run that says nothing about rerouting.
- **next coefficient**, **static order**, **random second**: other choices of the next teacher.
- **cheap first**: the strongest teacher costs ten times any other, and the first teacher is chosen by the rule too.
- **accepts a%**: a verifier that takes a% of the answers below the bar for good ones, in training and in use.

**Lead** is the reward minus that of the static order at the same number of answers: of the two nearest "static order
≤ n", each prompt counts for both in the proportion that comes to this number. For **tokens b** it is the same number of
tokens, and under a verifier that errs the static order under the same one. A token is four characters of an answer.
Rewards are raw quality, averaged over the seeds; intervals are 95%, over prompts, paired. The files hold one answer of
each teacher: whether the same teacher would do better the second time cannot be measured on them.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import router_quality
from persyn.config import Preferences, Reroute
from persyn.errors import InputError, PersynError
from persyn.inference import models
from persyn.policies import rerouting
from persyn.policies.rerouting import CalibrationSample, Rule
from persyn.reporting import plots
from persyn.rewards.combine import normalise
from persyn.router import head
from persyn.router.metrics import Interval
from persyn.router.surface_features import surface

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

BUDGETS = (1.1, 1.25, 1.4, 1.5, 1.75, 1.9, 2.25)
ACCEPTED = (0.05, 0.11, 0.2)
DRAWS, TINY = 2000, 1e-9  # of an interval, and in place of a gap that a draw does not have
DEAR = 10.0  # times the price of the others, for the strongest teacher


class Part(NamedTuple):
    """Prompts that are held out, and all that was learnt on the others."""

    prompts: Indices  # (P,) their numbers
    sample: CalibrationSample
    bar: float
    price: Floats  # (M,) mean tokens on the training prompts; 0 where there are no texts
    coefficients: Floats  # (P, M)
    quality: Floats  # (P, M) as the verifier sees it
    truth: Floats  # (P, M)
    tokens: Floats  # (P, M)

    @property
    def static(self) -> Floats:
        """(M,) each teacher's mean on the training prompts."""
        return np.asarray(np.nanmean(self.sample.quality, axis=0))

    @property
    def routed(self) -> Indices:
        return np.asarray(self.coefficients.argmax(axis=1))


class Measured(NamedTuple):
    """A policy on each of P prompts."""

    reward: Floats
    answers: Floats
    tokens: Floats
    strongest: Floats  # 1 where the strongest teacher was asked


Policy = Callable[[Part, int], Measured]  # the part, a seed


def measured(part: Part, best: Indices, asked: NDArray[np.bool_]) -> Measured:
    """best: (P,) the teacher whose answer is kept. asked: (P, M)."""
    kept = part.truth[np.arange(len(best)), best]
    reward = np.where(np.isnan(kept), part.sample.floor, kept)
    tokens = np.where(asked, part.tokens, 0.0).sum(axis=1)
    counted = asked.astype(np.float64)
    return Measured(reward, counted.sum(axis=1), tokens, counted[:, int(part.static.argmax())])


def played(part: Part, rule: Rule, first: Indices | None = None) -> Measured:
    first = part.routed if first is None else first
    done = rerouting.replay(part.sample, rule, part.coefficients, part.quality, first)
    return measured(part, done.teacher, done.asked)


def rule_of(part: Part, attempts: int | None = None) -> Rule:
    teachers = part.quality.shape[1]
    return Rule(part.bar, np.ones(teachers), attempts or teachers)


def product(attempts: int, least_gain: float = 0.0) -> Policy:
    return lambda part, seed: played(part, rule_of(part, attempts)._replace(threshold=least_gain))


def within(budget: float, *, of_tokens: bool = False) -> Policy:
    """A mean price of `budget` times that of the first answers, which is known from the training prompts."""

    def policy(part: Part, seed: int) -> Measured:
        first = part.sample.coefficients.argmax(axis=1)
        price = part.price / part.price.mean() if of_tokens else np.ones(len(part.price))
        rule = rule_of(part)._replace(price=price)
        threshold = rerouting.threshold_for(part.sample, rule, first, budget * float(price[first].mean()))
        return played(part, rule._replace(threshold=threshold))

    return policy


def in_order(order: Callable[[Part, int], Floats], attempts: int) -> Policy:
    """Ask by falling preference (P, M) until an answer reaches the bar."""

    def policy(part: Part, seed: int) -> Measured:
        ranked = np.argsort(-order(part, seed), axis=1, kind="stable")
        done = rerouting.replay_in_order(part.sample, rule_of(part, attempts), part.quality, ranked)
        return measured(part, done.teacher, done.asked)

    return policy


def cheap_first(part: Part, seed: int) -> Measured:
    price = np.ones(part.quality.shape[1])
    price[int(part.static.argmax())] = DEAR
    rule = rule_of(part)._replace(price=price)
    first = rerouting.next_teachers(part.sample, rule, part.coefficients, np.full(part.quality.shape, np.nan)).teacher
    return played(part, rule, np.where(first == rerouting.STOP, part.routed, first))


def deceived(policy: Policy, share: float) -> Policy:
    """The policy where each answer below the bar passes for a good one with this chance."""

    def believing(part: Part, seed: int) -> Measured:
        rng = np.random.default_rng(seed)
        learnt, seen = (
            np.where((quality < part.bar) & (rng.random(quality.shape) < share), part.bar, quality)
            for quality in (part.sample.quality, part.quality)
        )
        believed = CalibrationSample(part.sample.coefficients, learnt)
        return policy(part._replace(sample=believed, quality=seen), seed)

    return believing


def _as_static(part: Part, seed: int) -> Floats:
    return np.broadcast_to(part.static, part.quality.shape)


def _at_random(part: Part, seed: int) -> Floats:
    order = np.random.default_rng(seed).random(part.quality.shape)
    order[np.arange(len(order)), part.routed] = 2.0  # the first is the router's
    return order


def policies(teachers: int, *, texts: bool) -> dict[str, Policy]:
    usual = Reroute()
    most = min(4, teachers)
    found: dict[str, Policy] = {
        "router": product(1),
        **{f"≤ {n}": product(n) for n in range(2, most + 1)},
        "default": product(min(usual.attempts, teachers), usual.least_gain),
        **{f"budget {budget:g}": within(budget) for budget in BUDGETS},
        **{f"next coefficient ≤ {n}": in_order(lambda part, seed: part.coefficients, n) for n in range(2, most + 1)},
        **{f"static order ≤ {n}": in_order(_as_static, n) for n in range(1, teachers + 1)},
        "random second": in_order(_at_random, 2),
        "cheap first": cheap_first,
    }
    if texts:
        found |= {f"tokens {budget:g}": within(budget, of_tokens=True) for budget in BUDGETS}
    for share in ACCEPTED:
        found[f"≤ 3, accepts {share:.0%}"] = deceived(product(min(3, teachers)), share)
        found[f"static order ≤ 3, accepts {share:.0%}"] = deceived(in_order(_as_static, min(3, teachers)), share)
    return found


def splits(train: int, test: int, parts: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """(training, held-out) prompts: those of the test file, which come last, or each part of the shuffled others."""
    if test:
        yield np.arange(train), np.arange(train, train + test)
        return
    order = np.random.default_rng(seed).permutation(train)
    for part in np.array_split(order, parts):
        yield np.setdiff1d(order, part), part


class Bench:
    """The prompts of the files, and the router that is taught on some of them."""

    def __init__(self, rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
        self.teachers = sorted({name for row in rows for name in row["quality"]})
        found = router_quality.data(rows, self.teachers)
        self.rewards = found.rewards
        self.tokens = np.array([[row["tokens"].get(name, 0.0) for name in self.teachers] for row in rows])
        self._args = args
        self._config = router_quality.settings("minilm-frozen", {})
        path = models.model_path(self._config.backbone, self._config.revision, args.home)
        vectors = router_quality.embedded(found.messages, self._config, path, args.cache)
        self._pooled = vectors.shape[1]
        self._seen, self._taught = np.hstack([vectors, surface(found.messages)]), normalise(self.rewards, "minmax")

    def part(self, own: Indices, held: Indices) -> Part:
        learnt, coefficients = self._coefficients(own, held)
        rewards, args = self.rewards[own], self._args
        bar = args.bar if args.quantile is None else float(np.nanquantile(rewards, args.quantile))
        return Part(
            held, CalibrationSample(learnt, rewards), bar, self.tokens[own].mean(axis=0), coefficients,
            self.rewards[held], self.rewards[held], self.tokens[held],
        )  # fmt: skip

    def _coefficients(self, own: Indices, held: Indices) -> tuple[Floats, Floats]:
        """Those of the training prompts, each by a router that never saw it, and of the held-out ones."""
        given = (self._seen[own], self._taught[own], self._seen[held])
        key = hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in given)).hexdigest()
        kept = None if self._args.cache is None else self._args.cache / f"{key[:32]}.npz"
        if kept is not None and kept.exists():
            stored = np.load(kept)
            return stored["learnt"], stored["held"]
        fitted, chosen = head.select(*given[:2], Preferences(), folds=self._config.folds, seed=0, pooled=self._pooled)
        found = chosen.coefficients, fitted.coefficients(given[2])
        if kept is not None:
            np.savez(kept, learnt=found[0], held=found[1])
        return found


def gathered(parts: list[tuple[Indices, dict[str, Measured]]]) -> dict[str, Measured]:
    """Each policy's means over the seeds, prompt by prompt, from the parts of all seeds."""
    prompts = np.concatenate([held for held, _ in parts])
    _, place = np.unique(prompts, return_inverse=True)
    count = np.bincount(place)

    def mean(name: str, field: int) -> Floats:
        values = np.concatenate([found[name][field] for _, found in parts])
        return np.asarray(np.bincount(place, values) / count)

    return {name: Measured(*(mean(name, field) for field in range(4))) for name in parts[0][1]}


def static_at(ladder: list[Measured], cost: str, mean: float) -> Floats:
    """(P,) the rewards of the static order at a mean cost: of two neighbours, each prompt counts for both in parts.

    ladder: the static order with 1, 2, … answers at most. cost: a field of Measured.
    """
    costs = np.array([float(getattr(step, cost).mean()) for step in ladder])
    place = int(np.clip(np.searchsorted(costs, mean), 1, len(ladder) - 1))
    apart = costs[place] - costs[place - 1]
    share = float(np.clip((mean - costs[place - 1]) / apart, 0.0, 1.0)) if apart else 1.0
    return np.asarray((1 - share) * ladder[place - 1].reward + share * ladder[place].reward)


def counts(prompts: int) -> Floats:
    """(D, P) how often each draw with replacement takes each prompt; the same draws for all policies."""
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(prompts, size=prompts), minlength=prompts) for _ in range(DRAWS)]
    return np.array(drawn, dtype=np.float64)


def interval(drawn: Floats, values: Floats, below: Floats) -> Interval:
    """The ratio of the means of both (P,) with its 95% interval over the prompts."""
    low, high = np.quantile((drawn @ values) / np.maximum(drawn @ below, TINY), (0.025, 0.975))
    return Interval(float(values.mean() / below.mean()), float(low), float(high))


def report(found: dict[str, Measured], best: Floats) -> dict[str, dict[str, Any]]:
    """Every policy's figures. best: (P,) the best quality of all teachers. Raises InputError without a gap."""
    ladder = [found[name] for name in found if name.startswith("static order") and "," not in name]
    static, drawn, one_each = ladder[0].reward, counts(len(best)), np.ones(len(best))
    if not (best > static).any():
        raise InputError("The static best is the best on every prompt, so there is no gap. Add teachers that differ.")
    table = {}
    for name, one in found.items():
        cost, verifier = "tokens" if name.startswith("tokens") else "answers", name.partition(",")[2]
        if verifier:
            rival = found[f"static order ≤ 3,{verifier}"].reward
        else:
            rival = static_at(ladder, cost, float(getattr(one, cost).mean()))
        table[name] = {
            "reward": interval(drawn, one.reward, one_each),
            "gap": interval(drawn, one.reward - static, best - static),
            "lead": interval(drawn, one.reward - rival, one_each),
            **{field: float(getattr(one, field).mean()) for field in ("answers", "tokens", "strongest")},
        }
    return table


def show(table: dict[str, dict[str, Any]], best: float) -> None:
    print(f"{'':30}{'reward':>8}{'of gap':>8}{'95%':>18}{'answers':>9}{'tokens':>8}{'strongest':>11}   lead, 95%")
    for name, row in table.items():
        share, low, high = row["gap"]
        about = f"[{low:.3f}, {high:.3f}]"
        print(
            f"{name:30}{row['reward'].mean:8.3f}{share:8.3f}{about:>18}{row['answers']:9.3f}{row['tokens']:8.0f}"
            f"{row['strongest']:11.2f}   {'{:+.4f} [{:+.4f}, {:+.4f}]'.format(*row['lead'])}"
        )
    print(f"{'best of all':30}{best:8.3f}{1:8.3f}")


LINES = {
    "static order": ("tab:gray", "s--"),
    "next coefficient": ("tab:orange", "^--"),
    "random second": ("tab:brown", "x"),
    "≤": ("tab:green", "D"),
    "budget": ("tab:blue", "o-"),
    "tokens": ("tab:blue", "o-"),
}  # in the order of drawing


def draw(path: Path, title: str, table: dict[str, dict[str, Any]]) -> None:
    """The share of the gap over the mean number of answers, and below over that of tokens where there are texts."""
    costs = ["answers"] + ["tokens"] * any(row["tokens"] for row in table.values())
    figure = Figure(figsize=(7.0, 4.5 * len(costs)), layout="constrained")
    for axes, cost in zip(np.atleast_1d(figure.subplots(len(costs), 1)), costs, strict=True):
        _frontier(axes, cost, table)
    figure.axes[0].set(title=title)
    plots.save(figure, path)


def _frontier(axes: Axes, cost: str, table: dict[str, dict[str, Any]]) -> None:
    widest = 1.15 * max(table[name][cost] for name in (f"budget {BUDGETS[-1]:g}", "≤ 3") if name in table)
    for start, (colour, style) in LINES.items():
        if start == {"answers": "tokens", "tokens": "budget"}[cost]:
            continue
        names = [name for name in table if name.startswith(start) and "," not in name]
        names += ["router"] * (start in ("budget", "tokens", "next coefficient"))
        rows = sorted((table[name] for name in names), key=lambda row: float(row[cost]))
        along = [row[cost] for row in rows]
        share, low, high = zip(*(row["gap"] for row in rows), strict=True)
        label = {"≤": "rerouting, ≤ n answers", "budget": "rerouting, budget", "tokens": "rerouting, budget"}
        axes.plot(along, share, style, color=colour, label=label.get(start, start))
        if start in ("budget", "tokens"):
            axes.fill_between(along, low, high, color=colour, alpha=0.2, label="95% interval")
    axes.axhline(1.0, color="black", linestyle=":", label="best of all")
    axes.set(xlabel=f"{cost} a prompt", ylabel="share of the gap", xlim=(None, widest), ylim=(-0.1, 1.05))
    axes.legend(fontsize="small", loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerouting", description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the share of the gap: a .svg, .png or .pdf file")
    bar = parser.add_mutually_exclusive_group()
    bar.add_argument("--bar", type=float, default=1.0, help="the quality that is good enough")
    bar.add_argument("--quantile", type=float, help="of all qualities on the training prompts, as the bar")
    parser.add_argument("--seeds", type=int, default=3, help="times that the file is shuffled")
    parser.add_argument("--parts", type=int, default=5, help="each is held out once")
    parser.add_argument("--home", type=Path, default=Path(".persyn"), help="where converted models are kept")
    parser.add_argument("--cache", type=Path, help="a folder that keeps embeddings and coefficients between calls")
    args = parser.parse_args()
    if args.plot and args.plot.suffix.removeprefix(".") not in plots.FORMATS:
        parser.error(f"--plot {args.plot}: plots are written as {', '.join(plots.FORMATS)}")
    rows, tests = router_quality.read(args.train), router_quality.read(args.test) if args.test else []
    parts, shares = [], []
    try:
        bench = Bench(rows + tests, args)
        chosen = policies(len(bench.teachers), texts=bool(bench.tokens.any()))
        best = np.nanmax(bench.rewards[len(rows) if tests else 0 :], axis=1)
        for seed in range(args.seeds):
            of_seed = []
            for number, (own, held) in enumerate(splits(len(rows), len(tests), args.parts, seed)):
                part = bench.part(own, held)
                drawn = args.parts * seed + number
                of_seed.append((held, {name: policy(part, drawn) for name, policy in chosen.items()}))
                print(f"seed {seed}, part {number}: bar {part.bar:g}", file=sys.stderr, flush=True)
            parts += of_seed
            shares.append({name: row["gap"].mean for name, row in report(gathered(of_seed), best).items()})
    except PersynError as exc:
        sys.exit(str(exc))
    table = report(gathered(parts), best)
    show(table, float(best.mean()))
    if args.plot:
        draw(args.plot, args.train.name.partition(".")[0], table)
    if args.out:
        found = {"best_of_all": float(best.mean()), "prompts": len(best), "policies": table, "gap_by_seed": shares}
        args.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
