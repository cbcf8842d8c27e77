"""Replays a run's rerouting on its calibration answers, which are all paid for: what more answers would bring."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from persyn import runs
from persyn.config import Reroute
from persyn.errors import ConfigError, JobFailed
from persyn.policies import rerouting
from persyn.policies.rerouting import Replayed, Rule
from persyn.router.metrics import Interval, bootstrap
from persyn.stages import reroute
from persyn.stages.reroute import Ground

Floats = NDArray[np.float64]

BUDGETS = (1.25, 1.5, 2.0)  # times the price of routing once


class PlanRow(NamedTuple):
    """The outcome of one setting on the calibration prompts. Intervals are 95%, over the prompts."""

    name: str
    attempts: int
    budget: float | None  # a prompt's, in units of the price
    answers: float  # a prompt, on average
    price: float  # a prompt, on average
    quality: Interval  # raw, of the best answer
    lead: Interval  # of the quality over routing once, prompt by prompt
    of_gap: Interval | None  # of the way from the best single teacher to the best of all; None where they are equal
    good: float  # share of the prompts whose answer reaches the bar
    is_own: bool = False  # the run's own setting


class ReroutePlan(NamedTuple):
    """A replay for every setting, the rivals that order teachers without the prompt among them."""

    run: str
    prompts: int
    bar: float
    unit: str
    rows: list[PlanRow]
    rivals: list[PlanRow]
    advice: str

    def as_json(self) -> dict[str, Any]:
        rows = {"rows": [row._asdict() for row in self.rows], "rivals": [row._asdict() for row in self.rivals]}
        return self._asdict() | rows


def plan(conn: Connection, name: str) -> ReroutePlan:
    """The plan of a run by its name or number. Raises NotFound; ConfigError where nothing can be replayed."""
    run = runs.load(conn, runs.find(conn, name))
    options = run.config.rerouting or Reroute()
    try:
        ground = reroute.read_ground(conn, run)
        prices = reroute.answer_prices(conn, run, options)
    except JobFailed as exc:
        raise ConfigError(f"{run.name}: {exc}. `persyn calibrate` and `persyn score` measure answers first.") from exc
    bar = reroute.bar_of(run.config, ground.sample.quality)
    price, mean = reroute.relative(prices, run.config)
    board = _Board(ground, Rule(bar, price, 1), mean)
    most = min(max(options.attempts, 4), len(prices))
    least = options.least_gain * reroute.spread_of(run.config, ground.sample.quality)
    rows = [board.up_to(attempts, least) for attempts in range(1, most + 1)]
    once = rows[0].price
    rows += [board.within(share * once, options.attempts, least) for share in BUDGETS]
    if options.budget is not None and options.per == "prompt":
        rows.append(board.within(options.budget, options.attempts, least)._replace(is_own=True))
    elif run.config.rerouting is not None and options.per == "prompt" and options.attempts <= most:
        rows[options.attempts - 1] = rows[options.attempts - 1]._replace(is_own=True)
    rivals = [board.in_order(attempts) for attempts in range(2, most + 1)]
    return ReroutePlan(
        run.name, len(ground.own), bar, options.price, rows, rivals, _advice(len(ground.own), rows, rivals)
    )


class _Board:
    """The calibration prompts, on which each setting is played."""

    def __init__(self, ground: Ground, rule: Rule, mean_price: float) -> None:
        self._ground, self._rule, self._mean = ground, rule, mean_price
        self._quality = ground.sample.quality
        self._own = np.arange(len(self._quality), dtype=np.intp)
        known = np.where(np.isnan(self._quality), ground.sample.floor, self._quality)
        self._static = known[:, known.mean(axis=0).argmax()]
        self._gap = known.max(axis=1) - self._static
        self._order = np.argsort(-known.mean(axis=0), kind="stable")
        self._once = known[self._own, ground.first]

    def up_to(self, attempts: int, least_gain: float) -> PlanRow:
        name = "routed once" if attempts == 1 else f"up to {attempts}"
        return self._row(name, attempts, None, self._play(attempts, least_gain))

    def within(self, budget: float, attempts: int, least_gain: float) -> PlanRow:
        attempts = min(attempts, self._quality.shape[1])
        rule = self._rule._replace(attempts=attempts)
        threshold = rerouting.threshold_for(self._ground.sample, rule, self._ground.first, budget / self._mean)
        played = self._play(attempts, max(threshold, least_gain))
        return self._row(f"up to {attempts}, budget {budget:g}", attempts, budget, played)

    def in_order(self, attempts: int) -> PlanRow:
        """The routed teacher first, then the others from the best on average down."""
        sample, first = self._ground.sample, self._ground.first
        others = np.array([self._order[self._order != teacher] for teacher in first])
        rule = self._rule._replace(attempts=attempts)
        played = rerouting.replay_in_order(sample, rule, self._quality, np.column_stack([first, others]))
        return self._row(f"static order, up to {attempts}", attempts, None, played)

    def _play(self, attempts: int, threshold: float) -> Replayed:
        rule = self._rule._replace(attempts=attempts, threshold=threshold)
        sample = self._ground.sample
        return rerouting.replay(sample, rule, sample.coefficients, self._quality, self._ground.first, self._own)

    def _row(self, name: str, attempts: int, budget: float | None, played: Replayed) -> PlanRow:
        quality, lead = bootstrap(played.quality), bootstrap(played.quality - self._once)
        assert quality is not None  # read_ground refuses a run without a prompt
        assert lead is not None
        return PlanRow(
            name,
            attempts,
            budget,
            answers=float(played.asked.sum(axis=1).mean()),
            price=float(played.price.mean()) * self._mean,
            quality=quality,
            lead=lead,
            of_gap=bootstrap(played.quality - self._static, below=self._gap) if self._gap.any() else None,
            good=float((played.quality >= self._rule.bar).mean()),
        )


def _advice(prompts: int, rows: list[PlanRow], rivals: list[PlanRow]) -> str:
    """One sentence: what rerouting brings here, at which price."""
    once, *more = [row for row in rows if row.budget is None]
    best = max(more, key=lambda row: row.quality.mean)
    if best.lead.mean <= 0:
        return "A further answer brings nothing on these prompts: set reroute: off."
    told = (
        f"{best.name} answers bring the quality from {once.quality.mean:.3f} to {best.quality.mean:.3f} at"
        f" {best.answers:.2f} answers a prompt"
    )
    rival = next((row for row in rivals if row.attempts == best.attempts), None)
    if rival is not None and rival.quality.mean >= best.quality.mean and rival.answers <= best.answers:
        told += "; the static order does as well here, which more calibration prompts may change"
    if best.lead.low <= 0:
        told += f"; on {prompts} prompts this is within the noise"
    return f"{told[0].upper()}{told[1:]}."
