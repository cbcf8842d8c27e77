"""Stage 4, routing: every prompt gets its teacher by the run's policy, and each decision is a row that never changes.

Most policies decide prompt by prompt, and are stored batch by batch. `budgeted` and `oracle` look at the whole set:
their decisions and the end of their job are one transaction, so that a worker killed half-way leaves none of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.config import Teacher
from persyn.errors import ConfigError, JobFailed
from persyn.inference import models
from persyn.jobs.wake_ups import ROUTER
from persyn.policies import budgeted, per_prompt
from persyn.rewards import matrix
from persyn.stages import train
from persyn.stages.work import Work
from persyn.states import Stage

log = logging.getLogger(__name__)

BATCH = 512
NEIGHBOURS = 5  # calibration prompts kept with a router's decision

_UNDECIDED = text("""
SELECT p.id, p.sha256, p.messages
FROM prompt p
JOIN run r ON r.prompt_set_id = p.prompt_set_id
WHERE r.id = :run_id AND p.id > :after
  AND NOT EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id)
  AND (CAST(:with_calibration AS boolean)
       OR NOT EXISTS (
           SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = p.id))
ORDER BY p.id LIMIT :limit
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


class Undecided(NamedTuple):
    """A prompt without a teacher."""

    prompt_id: int
    sha256: str
    messages: list[dict[str, str]]


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


def enqueue(conn: Connection, run_id: int) -> int:
    """The one job that routes the run's prompts; returns 1 if it is new."""
    return jobs.enqueue_stage(conn, run_id, "route", ROUTER, Stage.ROUTE)


def undecided(engine: Engine, run_id: int, *, with_calibration: bool, batch: int) -> Iterator[list[Undecided]]:
    """The prompts without a decision, in batches; a run cut short goes on where it stopped."""
    after = 0
    while True:
        with engine.connect() as conn:
            rows = conn.execute(
                _UNDECIDED, {"run_id": run_id, "after": after, "with_calibration": with_calibration, "limit": batch}
            ).all()
        if not rows:
            return
        after = rows[-1].id
        yield [Undecided(*row) for row in rows]


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
    """Give every prompt of the run its teacher; a run cut short goes on. Raises JobFailed, LeaseLost, ModelError."""
    config = work.run.config
    with work.engine.connect() as conn:
        measured = matrix.load(conn, work.run.id, config)
    if config.policy == "oracle":
        _decide_by_measure(work, measured)
        return
    if config.calibration_answers == "best" and work.run.calibration_in_set:
        _store(work, list(_best_measured(work, measured)))
    router = RunRouter(work) if config.needs_router else None
    if router is not None and config.policy == "budgeted":
        _decide_within_budget(work, router)
        return
    if router is None:
        decide = _by_baseline(work, measured)
    else:
        decide = (_by_router_and_chance if config.policy_options.explore else _by_router)(work, router)
    for batch in _undecided(work):
        decisions = decide(batch)
        _store(work, decisions)
        log.info("action=route prompts=%d", len(decisions))
    if work.stopping.is_set():
        return
    with work.engine.begin() as conn:
        jobs.complete(conn, work.lease.id, [work.claim.id])


def _store(work: Work, decisions: Sequence[Decision]) -> None:
    with work.engine.begin() as conn:
        store(conn, work.lease.id, work.run.id, work.run.config.policy, decisions)


def _undecided(work: Work) -> Iterator[list[Undecided]]:
    """The prompts without a decision, until the worker is told to stop."""
    with_calibration = work.run.config.calibration_answers != "exclude"
    for batch in undecided(work.engine, work.run.id, with_calibration=with_calibration, batch=BATCH):
        if work.stopping.is_set():
            return
        work.lease.beat()
        yield batch


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


class RouterOutput(NamedTuple):
    """The router's output for a batch: coefficients (B, M), and for each prompt the nearest calibration prompts."""

    coefficients: NDArray[np.float64]
    neighbour_ids: list[list[int] | None]


class RunRouter:
    """The run's router, loaded to be asked."""

    def __init__(self, work: Work) -> None:
        """Raises JobFailed where the run has no router yet, ModelError where it cannot be loaded."""
        from persyn.router import predict  # noqa: PLC0415 - it loads torch

        with work.engine.connect() as conn:
            stored = train.find(conn, work.run.id)
        if stored is None:
            raise JobFailed("no_router", "the run has no router yet; train it first", permanent=False)
        config = work.run.config.router
        with work.lease.patience():
            backbone = models.model_path(config.backbone, config.revision, work.home)
            self._router = predict.LoadedRouter(
                train.folder(work.engine, stored, work.home), stored.artifact_sha256, backbone
            )
        self._beat = work.lease.beat
        self.id = stored.id

    def ask(self, batch: Sequence[Undecided]) -> RouterOutput:
        """Coefficients and neighbours of the prompts, in their order."""
        prediction = self._router.predict([prompt.messages for prompt in batch], NEIGHBOURS, on_progress=self._beat)
        return RouterOutput(prediction.coefficients, [*prediction.neighbour_ids])


Decide = Callable[[list[Undecided]], list[Decision]]


def _by_router(work: Work, router: RunRouter) -> Decide:
    def decide(batch: list[Undecided]) -> list[Decision]:
        output = router.ask(batch)
        choice = per_prompt.highest(output.coefficients)
        return list(_router_decisions(work, router, "router", batch, output, choice))

    return decide


def _by_router_and_chance(work: Work, router: RunRouter) -> Decide:
    """`_by_router`, where a share of the prompts gets a teacher at random."""
    config = work.run.config
    can_be_asked = [position for position, teacher in enumerate(config.teachers) if teacher.model is not None]

    def decide(batch: list[Undecided]) -> list[Decision]:
        output, keys = router.ask(batch), [prompt.sha256 for prompt in batch]
        share, seed = config.policy_options.explore, config.seed
        choice, drawn, probability = per_prompt.explore(output.coefficients, share, can_be_asked, seed, keys)
        made = _router_decisions(work, router, "router", batch, output, choice)
        return [
            one._replace(basis="explored" if by_chance else "router", probability=float(chance))
            for one, by_chance, chance in zip(made, drawn, probability, strict=True)
        ]

    return decide


def _router_decisions(
    work: Work, router: RunRouter, basis: str, prompts: Sequence[Undecided], output: RouterOutput,
    choice: per_prompt.Choice,
) -> Iterator[Decision]:  # fmt: skip
    for row, prompt in enumerate(prompts):
        yield Decision(
            prompt.prompt_id,
            work.run.teacher_ids[int(choice.teacher_index[row])],
            basis,
            router.id,
            [float(value) for value in output.coefficients[row]],
            _number(choice.margin[row]),
            output.neighbour_ids[row],
            work.run.config.teachers[int(choice.teacher_index[row])].samples,
        )


def _by_baseline(work: Work, measured: matrix.CalibrationScores) -> Decide:
    """The policies without a router: each prompt by itself, from what calibration measured."""
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


def _decide_by_measure(work: Work, measured: matrix.CalibrationScores) -> None:
    """`oracle`: only what was measured counts, so the calibration set must be the whole set."""
    decisions = list(_best_measured(work, measured))
    known = {decision.prompt_id for decision in decisions}
    prompts = missing = 0
    for batch in _undecided(work):
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


def _decide_within_budget(work: Work, router: RunRouter) -> None:
    config = work.run.config
    prompts: list[Undecided] = []
    outputs: list[RouterOutput] = []
    for batch in _undecided(work):
        outputs.append(router.ask(batch))
        prompts += [prompt._replace(messages=[]) for prompt in batch]  # a hundred thousand texts need not stay
    if work.stopping.is_set():
        return
    output = RouterOutput(
        np.concatenate([np.empty((0, len(work.run.teacher_ids))), *(part.coefficients for part in outputs)]),
        [ids for part in outputs for ids in part.neighbour_ids],
    )
    names = [teacher.name for teacher in config.teachers]
    with work.engine.connect() as conn:
        used = usage(conn, work.run.id, config.teachers)
    try:
        capacity = budgeted.capacities(names, config.policy_options.budget, used, len(prompts))
    except ConfigError as exc:
        raise JobFailed("infeasible_budget", str(exc), permanent=True) from exc
    choice = budgeted.assign_within(output.coefficients, capacity, [prompt.sha256 for prompt in prompts])
    _store_at_once(work, _router_decisions(work, router, "budget", prompts, output, choice))


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
    while part := list(islice(decisions, BATCH)):
        work.lease.beat()
        write(conn, work.lease.id, work.run.id, work.run.config.policy, part)
        written += len(part)
    if not jobs.complete(conn, work.lease.id, [work.claim.id]):
        conn.rollback()
    return written


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
