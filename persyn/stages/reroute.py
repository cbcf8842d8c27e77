"""Stage 6, rerouting: a prompt whose measured answers are below the bar gets another teacher, while one is worth it.

A reroute job looks at every prompt whose answers have come, and stores further attempts: rows of `routing_decision`
with a number above 1. They are answered and scored as routed prompts are, and a later job looks again. The decisions of
one job and its end are one transaction, so that a worker killed half-way leaves none of them.
"""

import logging
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn import jobs, runs
from persyn.config import Reroute, RunConfig
from persyn.errors import JobFailed
from persyn.jobs.wake_ups import ROUTER
from persyn.policies import rerouting
from persyn.policies.rerouting import CalibrationSample, Rule
from persyn.rewards import matrix
from persyn.stages import route
from persyn.stages.route import Decision
from persyn.stages.work import Work
from persyn.states import Stage

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

BATCH = 2048  # prompts read at once
EVERY_S = 60.0  # between two jobs while answers still come, and ten times as long as the last one took
CHEAPEST = 1e-3  # of the mean price: a free answer is no reason to ask for all of them
NOT_FOR_SALE = 1e9  # mean prices: of a teacher whose answers are all imported, so that nobody can ask it

# Whether there is anything that the last reroute job has not seen. Index: ix_job_stage, ix_routing_decision_rerouted;
# the jobs are read only once the other conditions hold.
_DUE = text("""
WITH last AS (
    SELECT j.state, j.created_at, j.finished_at FROM job j
    WHERE j.run_id = :run_id AND j.kind = 'reroute' ORDER BY j.id DESC LIMIT 1
), before AS (
    SELECT coalesce(max(j.finished_at), '-infinity') AS routed_at FROM job j
    WHERE j.run_id = :run_id AND j.kind = 'route'
)
SELECT CASE
    WHEN last.state <> 'done' THEN false
    WHEN :answering AND clock_timestamp() < coalesce(last.finished_at, before.routed_at) + greatest(
        make_interval(secs => :every), 10 * coalesce(last.finished_at - last.created_at, '0')) THEN false
    WHEN last.state IS NULL THEN true
    ELSE EXISTS (
            SELECT FROM routing_decision d
            WHERE d.run_id = :run_id AND d.attempt > 1 AND d.created_at >= last.created_at)
        OR EXISTS (
            SELECT FROM job j
            WHERE j.run_id = :run_id AND j.stage IN (:generate, :score) AND j.state IN ('done', 'dead')
              AND j.finished_at >= last.created_at)
END AS due
FROM before LEFT JOIN last ON true
""")

# The attempts of the prompts that may have a further one. An answer's quality is that of audit.answer, and counts once
# every scorer has measured it.
_ATTEMPTS = text("""
WITH page AS (
    SELECT d.prompt_id FROM routing_decision d
    WHERE d.run_id = :run_id AND d.policy = :policy AND d.prompt_id > :after
    GROUP BY d.prompt_id HAVING count(*) < :attempts AND bool_and(d.basis <> 'measured')
    ORDER BY d.prompt_id LIMIT :limit
)
SELECT d.prompt_id, d.router_id, d.coefficients, rt.position, other.position AS opinion,
       a.answers, a.usable, a.measured, a.quality, j.open, j.dead
FROM page
JOIN routing_decision d ON d.run_id = :run_id AND d.policy = :policy AND d.prompt_id = page.prompt_id
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
LEFT JOIN (audit.opinion o JOIN run_teacher other ON other.run_id = o.run_id AND other.teacher_id = o.teacher_id)
       ON o.run_id = d.run_id AND o.prompt_id = d.prompt_id
CROSS JOIN LATERAL (
    SELECT count(*) AS answers,
           count(*) FILTER (WHERE coalesce(g.flaw, 'cut') = 'cut') AS usable,
           count(q.value) FILTER (WHERE coalesce(g.flaw, 'cut') = 'cut') AS measured,
           max(q.value) FILTER (WHERE coalesce(g.flaw, 'cut') = 'cut') AS quality
    FROM generation g
    CROSS JOIN LATERAL (
        SELECT CASE WHEN bool_and(x.value IS NOT NULL) THEN sum(x.value * rs.weight) / sum(rs.weight) END AS value
        FROM run_scorer rs
        JOIN scorer s ON s.id = rs.scorer_id AND s.kind = 'quality'
        LEFT JOIN score x ON x.scorer_id = s.id AND x.generation_id = g.id
        WHERE rs.run_id = :run_id AND rs.weight > 0) q
    WHERE g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index < d.samples) a
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(job.state IN ('ready', 'leased')), false) AS open,
           coalesce(bool_or(job.state = 'dead'), false) AS dead
    FROM job
    WHERE job.kind = 'generate' AND job.run_id = :run_id AND job.teacher_id = d.teacher_id
      AND job.prompt_id = d.prompt_id AND job.sample_index < d.samples) j
ORDER BY d.prompt_id, d.attempt
""")

_HELD_OUT = text("""
SELECT c.prompt_id, c.held_out_coefficients
FROM run r JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id) WHERE r.id = :run_id
""")
_NUMBERS = text("SELECT bar, threshold, prices FROM rerouting WHERE run_id = :run_id")
_KEEP_NUMBERS = text("""
INSERT INTO rerouting (run_id, bar, threshold, prices, lease_id)
VALUES (:run_id, :bar, :threshold, :prices, :lease_id) ON CONFLICT (run_id) DO NOTHING
""")
_ASKED = text("""
SELECT rt.position, count(*) AS answers, count(*) FILTER (WHERE d.attempt = 1) AS prompts
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.run_id = :run_id AND d.policy = :policy GROUP BY rt.position
""")
_PROMPTS = text("SELECT count(*) FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id WHERE r.id = :run_id")


class Numbers(NamedTuple):
    """The numbers that a run reroutes by, in the words of its configuration; found once."""

    bar: float
    threshold: float  # the least gain that one unit of price must bring
    prices: list[float]  # of an answer, in coefficient order

    def rule(self, config: RunConfig, attempts: int) -> Rule:
        """The rule that keeps to these numbers; it reckons in mean prices."""
        price, mean = relative(self.prices, config)
        return Rule(self.bar, price, attempts, self.threshold * mean)


class Ground(NamedTuple):
    """The calibration prompts that a run's rerouting stands on."""

    sample: CalibrationSample
    first: NDArray[np.intp]  # (C,) the teacher that the policy would take for each calibration prompt
    own: NDArray[np.intp]  # (C,) their rows among the run's calibration prompts
    by_router: bool  # whether coefficients of the router tell prompts apart


class _Further(NamedTuple):
    """A prompt, the teacher to ask next, and why."""

    prompt_id: int
    router_id: int | None
    asked: tuple[int, ...]  # positions, in order
    position: int
    gain: float


def enqueue(conn: Connection, run_id: int, *, answering: bool) -> int:
    """The job that looks at the answers which came since the last one; returns 1 if there is one to be made.

    answering: routed answers or their scores are still being made.
    """
    stages = {"generate": int(Stage.GENERATE), "score": int(Stage.SCORE_ROUTED)}
    due = conn.execute(_DUE, {"run_id": run_id, "answering": answering, "every": EVERY_S} | stages).scalar_one()
    return jobs.enqueue_stage(conn, run_id, "reroute", ROUTER, Stage.REROUTE) if due else 0


def perform(work: Work) -> None:
    """Give each prompt whose answers are below the bar its next teacher. Raises JobFailed, LeaseLost."""
    run, options = work.run, work.run.config.rerouting
    if options is None:
        raise JobFailed("no_rerouting", "the run's configuration says reroute: off", permanent=True)
    with work.engine.connect() as conn:
        ground = read_ground(conn, run)
        numbers = stored_numbers(conn, run.id) or find_numbers(conn, run, ground)
    rule = numbers.rule(run.config, options.attempts + bool(run.config.opinions))  # an opinion is no attempt
    further: list[_Further] = []
    for page in _pages(work, options):
        further += _next(ground, rule, page)
    if work.stopping.is_set():
        return
    if options.budget is not None:
        with work.engine.connect() as conn:
            further = _affordable(further, numbers, _room(conn, run, numbers, options))
    decisions = (_decision(run, one, numbers) for one in further)
    with work.engine.begin() as conn:
        conn.execute(_KEEP_NUMBERS, {"run_id": run.id, "lease_id": work.lease.id} | numbers._asdict())
        route.write_with_end(conn, work, decisions)
    log.info("action=reroute prompts=%d", len(further))


def read_ground(conn: Connection, run: runs.Run) -> Ground:
    """The calibration prompts by which rerouting decides. Raises JobFailed where their quality was not measured."""
    measured = matrix.load(conn, run.id, run.config)
    quality = measured.raw_quality()
    held_out = {row.prompt_id: row.held_out_coefficients for row in conn.execute(_HELD_OUT, {"run_id": run.id})}
    by_router = any(values is not None for values in held_out.values())
    coefficients = np.zeros(quality.shape)
    for row, prompt_id in enumerate(measured.prompt_ids):
        coefficients[row] = np.nan if by_router and held_out[prompt_id] is None else held_out[prompt_id] or 0.0
    own = np.flatnonzero(np.isfinite(coefficients).all(axis=1) & np.isfinite(quality).any(axis=1))
    if not own.size:
        raise JobFailed("no_quality", "no calibration answer has a measured quality to reroute by", permanent=True)
    sample = CalibrationSample(coefficients[own], quality[own])
    best = np.full(own.size, _best_on_average(quality[own]), dtype=np.intp)
    first = sample.coefficients.argmax(axis=1) if by_router else best
    return Ground(sample, first, own, by_router)


def _best_on_average(quality: Floats) -> int:
    known = np.isfinite(quality)
    return int((np.where(known, quality, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)).argmax())


def stored_numbers(conn: Connection, run_id: int) -> Numbers | None:
    """None where the run has not rerouted yet."""
    row = conn.execute(_NUMBERS, {"run_id": run_id}).first()
    return None if row is None else Numbers(*row)


def find_numbers(conn: Connection, run: runs.Run, ground: Ground) -> Numbers:
    """The bar, the prices and the threshold that keeps to the budget. Raises JobFailed where prices are unknown."""
    options = run.config.rerouting or Reroute()
    prices = answer_prices(conn, run, options)
    bar = bar_of(run.config, ground.sample.quality)
    price, mean = relative(prices, run.config)
    threshold = options.least_gain * spread_of(run.config, ground.sample.quality)
    if options.budget is not None:
        budget = options.budget / mean / (1 if options.per == "prompt" else _prompts(conn, run.id))
        rule = Rule(bar, price, options.attempts)
        threshold = max(threshold, rerouting.threshold_for(ground.sample, rule, ground.first, budget))
    return Numbers(bar, threshold / mean, prices)


def bar_of(config: RunConfig, quality: Floats) -> float:
    """The raw quality that is good enough: as given, a verdict's, or the quantile of calibration answers (C, M)."""
    options = config.rerouting or Reroute()
    if options.bar is not None:
        return options.bar
    verdict = config.verdict_bar
    return float(np.nanquantile(quality, options.quantile)) if verdict is None else verdict


def spread_of(config: RunConfig, quality: Floats) -> float:
    """The difference of raw quality between a good and a bad answer of (C, M): what a gain is a share of."""
    if config.verdict_bar is not None:
        return 1.0
    low, high = np.nanquantile(quality, (0.05, 0.95))
    return float(high - low) or 1.0


def answer_prices(conn: Connection, run: runs.Run, options: Reroute) -> list[float]:
    """The price of each teacher's answer to a prompt, in coefficient order. Raises JobFailed where it is unknown.

    A teacher whose tokens nobody counted is taken for the mean of the others.
    """
    teachers = run.config.teachers
    if options.price == "answers":
        return [float(teacher.samples) for teacher in teachers]
    prices: list[float | None] = []
    for teacher, used in zip(teachers, route.usage(conn, run.id, teachers), strict=True):
        if used.completion_tokens is None or used.prompt_tokens is None:
            prices.append(None)
        elif options.price == "tokens":
            prices.append(used.completion_tokens)
        else:
            tariff = teacher.endpoint.price if teacher.endpoint else None
            per_million = (0.0, 0.0) if tariff is None else (tariff.input, tariff.output)
            prices.append((used.prompt_tokens * per_million[0] + used.completion_tokens * per_million[1]) / 1e6)
    known = [price for price in prices if price is not None]
    if not known:
        message = "no calibration answer has its tokens counted, so answers have no price; set reroute.price: answers"
        raise JobFailed("uncounted_tokens", message, permanent=True)
    return [sum(known) / len(known) if price is None else price for price in prices]


def relative(prices: list[float], config: RunConfig) -> tuple[Floats, float]:
    """The prices in units of their mean, none of them 0, and that mean; all alike where all are free."""
    values = np.array(prices)
    mean = float(values.mean()) or 1.0
    units = np.maximum(values / mean, CHEAPEST) if values.any() else np.ones(len(values))
    can_be_asked = [teacher.model is not None for teacher in config.teachers]
    return np.where(can_be_asked, units, NOT_FOR_SALE), mean


def _pages(work: Work, options: Reroute) -> Iterator[list[list[Any]]]:
    """The attempts of each prompt, some prompts at a time, until the worker is told to stop."""
    after, keys = 0, {"run_id": work.run.id, "policy": work.run.config.policy, "attempts": options.attempts}
    while not work.stopping.is_set():
        work.lease.beat()
        with work.engine.connect() as conn:
            rows = conn.execute(_ATTEMPTS, keys | {"after": after, "limit": BATCH}).all()
        if not rows:
            return
        after = rows[-1].prompt_id
        yield [list(attempts) for _, attempts in groupby(rows, key=lambda row: row.prompt_id)]


def _next(ground: Ground, rule: Rule, page: list[list[Any]]) -> Iterator[_Further]:
    """The prompts of a page for which another teacher is worth its price."""
    teachers = ground.sample.quality.shape[1]
    told = [(attempts, qualities) for attempts in page if (qualities := [*map(_quality, attempts)]).count(None) == 0]
    seen, coefficients = np.full((len(told), teachers), np.nan), np.zeros((len(told), teachers))
    for row, (attempts, qualities) in enumerate(told):
        for attempt, quality in zip(attempts, qualities, strict=True):
            seen[row, attempt.position] = quality
        if attempts[0].opinion is not None:
            seen[row, attempts[0].opinion] = -np.inf  # its answer has been heard, and is worth no attempt
        if ground.by_router and attempts[0].router_id is not None:
            coefficients[row] = attempts[0].coefficients
    step = rerouting.next_teachers(ground.sample, rule, coefficients, seen)
    for row in np.flatnonzero(step.teacher != rerouting.STOP):
        attempts = told[row][0]
        asked = tuple(attempt.position for attempt in attempts)
        yield _Further(
            attempts[0].prompt_id, attempts[0].router_id, asked, int(step.teacher[row]), float(step.gain[row])
        )


def _quality(attempt: Any) -> float | None:
    """The quality of an attempt's best answer, -inf where none will come, None where it is not known yet, or never."""
    if attempt.open or attempt.measured < attempt.usable:
        return None
    if attempt.usable:
        return float(attempt.quality)
    return -np.inf if attempt.answers or attempt.dead else None


def _prompts(conn: Connection, run_id: int) -> int:
    return int(conn.execute(_PROMPTS, {"run_id": run_id}).scalar_one())


def _room(conn: Connection, run: runs.Run, numbers: Numbers, options: Reroute) -> float:
    """The part of the whole budget that no decision has taken yet."""
    asked = conn.execute(_ASKED, {"run_id": run.id, "policy": run.config.policy}).all()
    budget = options.budget or 0.0
    whole = budget * sum(row.prompts for row in asked) if options.per == "prompt" else budget
    return whole - float(sum(row.answers * numbers.prices[row.position] for row in asked))


def _affordable(further: list[_Further], numbers: Numbers, room: float) -> list[_Further]:
    """Those that bring most for their price, as far as the room goes."""

    def worth(one: _Further) -> float:
        price = numbers.prices[one.position]
        return one.gain / price if price else np.inf

    kept: list[_Further] = []
    for one in sorted(further, key=lambda one: (-worth(one), one.prompt_id)):
        room -= numbers.prices[one.position]
        if room < -1e-9:
            break
        kept.append(one)
    return kept


def _decision(run: runs.Run, one: _Further, numbers: Numbers) -> Decision:
    return Decision(
        one.prompt_id,
        run.teacher_ids[one.position],
        "rerouted",
        one.router_id,
        samples=run.config.teachers[one.position].samples,
        attempt=len(one.asked) + 1,
        failed_teacher_ids=[run.teacher_ids[position] for position in one.asked],
        gain=one.gain,
        price=numbers.prices[one.position],
    )
