"""Stage 4, routing: every prompt gets its teacher by the run's policy, and each decision is a row that never changes.

Most policies decide prompt by prompt: any number of workers route a range of prompts each, and store it batch by batch.
`budgeted` and `oracle` look at the whole set: their decisions and the end of their job are one transaction, so that a
worker killed half-way leaves none of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, text

from persyn import jobs
from persyn.config import Teacher
from persyn.errors import ConfigError, JobFailed
from persyn.jobs.wake_ups import ROUTER
from persyn.policies import budgeted, per_prompt
from persyn.rewards import matrix
from persyn.runs import Run
from persyn.stages import coefficients, ranges, run_router, train
from persyn.stages.ranges import Undecided
from persyn.stages.run_router import RouterOutput, RunRouter
from persyn.stages.work import Work
from persyn.states import Stage

log = logging.getLogger(__name__)

WHOLE_SET = ("budgeted", "oracle")  # the policies whose decisions hang together

_ROUTE_JOBS = text("""
SELECT count(*) AS jobs, count(*) FILTER (WHERE first_prompt_id IS NULL) AS whole
FROM job WHERE run_id = :run_id AND kind = 'route'
""")

_INSERT = text("""
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, coefficients, margin,
                              neighbour_ids, samples, attempt, failed_teacher_ids, gain, price, probability,
                              lease_id)
VALUES (:run_id, :prompt_id, :policy, :basis, :teacher_id, :router_id, :coefficients, :margin,
        :neighbour_ids, :samples, :attempt, :failed_teacher_ids, :gain, :price, :probability, :lease_id)
ON CONFLICT (run_id, policy, prompt_id, attempt) DO NOTHING
""")

_USAGE = text("""
SELECT rt.position, avg(g.prompt_tokens)::float8 AS prompt_tokens, avg(g.completion_tokens)::float8 AS completion_tokens
FROM run r
JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
WHERE r.id = :run_id GROUP BY rt.position
""")


class Decision(NamedTuple):
    """A prompt's teacher, and the reasons for it."""

    prompt_id: int
    teacher_id: int
    basis: str
    router_id: int | None = None
    coefficients: list[float] | list[float | None] | None = None  # the router's; the rewards where `measured`
    margin: float | None = None
    neighbour_ids: list[int] | None = None  # calibration prompts near to it in the router's embedding, nearest first
    samples: int = 1  # answers that the teacher is asked for
    attempt: int = 1
    failed_teacher_ids: list[int] | None = None  # of a further attempt: those asked before, in order
    gain: float | None = None  # likewise: the expected improvement
    price: float | None = None  # likewise: of the answer
    probability: float | None = None  # with which the teacher was chosen, where the run explores


def enqueue(conn: Connection, run: Run) -> int:
    """The jobs that routing still needs, asked for where none is open or dead; returns how many they are.

    They are ranges of the prompts without a decision. A policy that decides on the whole set has one job more, once the
    router's coefficients are there.
    """
    made = conn.execute(_ROUTE_JOBS, {"run_id": run.id}).one()
    whole = run.config.policy in WHOLE_SET
    if whole and made.whole:
        return 0  # prompts that came after such a decision are left out
    router = train.find(conn, run.id) if whole else None
    new = 0 if run.config.policy == "oracle" else ranges.enqueue(conn, run.id, router.job_id if router else None)
    if new == 0 and (whole or not made.jobs):
        return jobs.enqueue_stage(conn, run.id, "route", ROUTER, Stage.ROUTE)
    return new


def store(conn: Connection, lease_id: int, run_id: int, policy: str, decisions: Sequence[Decision]) -> None:
    """Keep a batch of decisions under a lease that still holds. Raises LeaseLost."""
    jobs.hold(conn, lease_id)
    write(conn, lease_id, run_id, policy, decisions)


def write(conn: Connection, lease_id: int, run_id: int, policy: str, decisions: Sequence[Decision]) -> None:
    """Keep decisions in a transaction whose caller makes sure of the lease before it commits."""
    rows = [decision._asdict() | {"run_id": run_id, "policy": policy, "lease_id": lease_id} for decision in decisions]
    if rows:
        conn.execute(_INSERT, rows)


def usage(conn: Connection, run_id: int, teachers: Sequence[Teacher]) -> list[budgeted.Usage]:
    """Each teacher's tokens for a routed prompt, in coefficient order: its mean calibration answer, times `samples`."""
    by_teacher = [budgeted.Usage(None, None)] * len(teachers)
    for row in conn.execute(_USAGE, {"run_id": run_id}):
        answers = teachers[row.position].samples
        read, written = (
            None if mean is None else answers * mean for mean in (row.prompt_tokens, row.completion_tokens)
        )
        by_teacher[row.position] = budgeted.Usage(read, written)
    return by_teacher


def perform(work: Work) -> None:
    """Give the prompts of the job's range their teachers; a range cut short goes on.

    Raises JobFailed, LeaseLost, ModelError.
    """
    config = work.run.config
    if config.policy == "oracle":
        _decide_by_measure(work)
        return
    if config.calibration_answers == "best" and work.run.calibration_in_set:
        measured = _best_measured(work, _measured(work))
        _store(work, [decision for decision in measured if ranges.covers(work.claim, decision.prompt_id)])
    if config.policy == "budgeted":
        _decide_within_budget(work)
        return
    if config.needs_router:
        decide = (_by_router_and_chance if config.policy_options.explore else _by_router)(work)
    else:
        decide = _by_baseline(work)
    for batch in ranges.undecided(work):
        decisions = decide(batch)
        _store(work, decisions)
        log.info("action=route prompts=%d", len(decisions))
    if not work.stopping.is_set():
        _end(work)


def _end(work: Work) -> None:
    with work.engine.begin() as conn:
        jobs.complete(conn, work.lease.id, [work.claim.id])


def _measured(work: Work) -> matrix.CalibrationScores:
    with work.engine.connect() as conn:
        return matrix.load(conn, work.run.id, work.run.config)


def _store(work: Work, decisions: Sequence[Decision]) -> None:
    with work.engine.begin() as conn:
        store(conn, work.lease.id, work.run.id, work.run.config.policy, decisions)


def _best_measured(work: Work, measured: matrix.CalibrationScores) -> Iterator[Decision]:
    """The calibration prompts' decisions: the best measured answer, which is paid for already."""
    known = np.flatnonzero(~np.isnan(measured.reward).all(axis=1))  # elsewhere the policy decides like anywhere else
    choice = per_prompt.best_measured(measured.reward[known])
    for row, teacher, margin in zip(known, choice.teacher_index, choice.margin, strict=True):
        yield Decision(
            measured.prompt_ids[row],
            work.run.teacher_ids[int(teacher)],
            "measured",
            coefficients=[None if np.isnan(value) else float(value) for value in measured.reward[row]],
            margin=_number(margin),
        )


Decide = Callable[[list[Undecided]], list[Decision]]


def _by_router(work: Work) -> Decide:
    router = RunRouter(work, run_router.stored(work))

    def decide(batch: list[Undecided]) -> list[Decision]:
        output = router.ask(batch)
        return _routed(work.run, router.id, batch, output, per_prompt.highest(output.coefficients))

    return decide


def _routed(
    run: Run, router_id: int, batch: list[Undecided], output: RouterOutput, choice: per_prompt.Choice
) -> list[Decision]:
    return [
        Decision(
            prompt.prompt_id, run.teacher_ids[teacher], "router", router_id, output.coefficients[row].tolist(),
            _number(choice.margin[row]), output.neighbour_ids[row], run.config.teachers[teacher].samples,
        )
        for row, (prompt, teacher) in enumerate(zip(batch, choice.teacher_index.tolist(), strict=True))
    ]  # fmt: skip


def _by_router_and_chance(work: Work) -> Decide:
    """`_by_router`, where a share of the prompts gets a teacher at random."""
    config, router = work.run.config, RunRouter(work, run_router.stored(work))
    can_be_asked = [position for position, teacher in enumerate(config.teachers) if teacher.model is not None]

    def decide(batch: list[Undecided]) -> list[Decision]:
        output, keys = router.ask(batch), [prompt.sha256 for prompt in batch]
        share, seed = config.policy_options.explore, config.seed
        choice, drawn, probability = per_prompt.explore(output.coefficients, share, can_be_asked, seed, keys)
        made = _routed(work.run, router.id, batch, output, choice)
        return [
            one._replace(basis="explored" if by_chance else "router", probability=float(chance))
            for one, by_chance, chance in zip(made, drawn, probability, strict=True)
        ]

    return decide


def _by_baseline(work: Work) -> Decide:
    """The policies without a router: each prompt by itself, from what calibration measured."""
    measured = _measured(work)
    teachers = work.run.config.teachers
    choose = per_prompt.chooser(work.run.config, measured.quality, measured.learnability)
    basis = "random" if work.run.config.policy in ("random", "mix") else "static"

    def decide(batch: list[Undecided]) -> list[Decision]:
        index = choose([prompt.sha256 for prompt in batch]).teacher_index
        return [
            Decision(
                prompt.prompt_id, work.run.teacher_ids[int(teacher)], basis, samples=teachers[int(teacher)].samples
            )
            for prompt, teacher in zip(batch, index, strict=True)
        ]

    return decide


def _decide_by_measure(work: Work) -> None:
    """`oracle`: only what was measured counts, so the calibration set must be the whole set."""
    decisions = list(_best_measured(work, _measured(work)))
    known = {decision.prompt_id for decision in decisions}
    prompts = missing = 0
    for batch in ranges.undecided(work):
        prompts += len(batch)
        missing += sum(prompt.prompt_id not in known for prompt in batch)
    if work.stopping.is_set():
        return
    if missing:
        message = (
            f"the policy oracle needs measured answers to every prompt, and {missing} of {prompts} have none;"
            " start a run whose calibration.size covers the prompt set (answers that exist are not asked for again),"
            " or use another policy"
        )
        raise JobFailed("answers_missing", message, permanent=True)
    _store_at_once(work, iter(decisions))


def _decide_within_budget(work: Work) -> None:
    """`budgeted`: a range computes coefficients; the job about the whole set those that are left, and decides."""
    stored = run_router.stored(work)
    coefficients.compute(work, stored)
    if work.stopping.is_set():
        return
    if work.claim.first_prompt_id is not None:
        _end(work)
        return
    config = work.run.config
    names = [teacher.name for teacher in config.teachers]
    with work.engine.connect() as conn:
        found = coefficients.read(conn, work.run.id, stored.job_id, len(names))
        used = usage(conn, work.run.id, config.teachers)
    work.lease.beat()
    try:
        capacity = budgeted.capacities(names, config.policy_options.budget, used, len(found.prompt_ids))
    except ConfigError as exc:
        raise JobFailed("infeasible_budget", str(exc), permanent=True) from exc
    choice = budgeted.assign_within(found.values, capacity, found.sha256)
    with work.engine.begin() as conn:
        coefficients.decide(conn, work, stored.id, found, choice)
    log.info("action=route prompts=%d", len(found.prompt_ids))


def _store_at_once(work: Work, decisions: Iterator[Decision]) -> None:
    """All decisions and the end of the job together. Raises LeaseLost, and then stores none."""
    with work.engine.begin() as conn:
        stored = write_with_end(conn, work, decisions)
    log.info("action=route prompts=%d", stored)


def write_with_end(conn: Connection, work: Work, decisions: Iterator[Decision]) -> int:
    """The decisions and the end of the job, in one transaction of the caller's; returns how many were written.

    None stays where the job is another's by now. Raises LeaseLost.
    """
    written = 0
    while part := list(islice(decisions, ranges.BATCH)):
        work.lease.beat()
        write(conn, work.lease.id, work.run.id, work.run.config.policy, part)
        written += len(part)
    if not jobs.complete(conn, work.lease.id, [work.claim.id]):
        conn.rollback()
    return written


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
