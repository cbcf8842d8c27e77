"""Deciding which teacher answers each prompt, by the run's policy.

Most policies decide prompt by prompt, and are stored batch by batch. `budgeted` and `oracle` look at the whole set:
their decisions and the end of their job are one transaction, so that a worker killed half-way leaves none of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn import jobs, runs
from persyn.errors import ConfigError
from persyn.inference import models
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.policies import budgeted, per_prompt
from persyn.rewards import matrix
from persyn.stages import route, train
from workers.failures import Failed
from workers.worker import Host

log = logging.getLogger(__name__)

BATCH = 512
NEIGHBOURS = 5  # calibration prompts kept with a router's decision


def route_run(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim) -> None:
    """Give every prompt of the run its teacher; a run cut short goes on. Raises Failed, LeaseLost, ModelError."""
    with host.engine.connect() as conn:
        measured = matrix.load(conn, run.id, run.config)
    if run.config.policy == "oracle":
        _route_by_measure(host, lease, run, claim, measured)
        return
    if run.config.calibration_answers == "best":
        with host.engine.begin() as conn:
            route.store(conn, lease.id, run.id, run.config.policy, list(_best_measured(run, measured)))
    asker = Asker(host, run) if run.config.needs_router else None
    if asker is not None and run.config.policy == "budgeted":
        _route_within_budget(host, lease, run, claim, asker)
        return
    decide = _by_prompt(run, measured) if asker is None else _by_router(run, asker)
    for batch in _undecided(host, lease, run):
        chosen = decide(batch)
        with host.engine.begin() as conn:
            route.store(conn, lease.id, run.id, run.config.policy, chosen)
        log.info("action=route run=%s prompts=%d", run.id, len(chosen))
    if host.stopping.is_set():
        return
    with host.engine.begin() as conn:
        jobs.complete(conn, lease.id, [claim.id])


def _undecided(host: Host, lease: LeaseKeeper, run: runs.Run) -> Iterator[list[route.Undecided]]:
    """The prompts without a decision, until the worker is told to stop."""
    with_calibration = run.config.calibration_answers != "exclude"
    for batch in route.undecided(host.engine, run.id, with_calibration=with_calibration, batch=BATCH):
        if host.stopping.is_set():
            return
        lease.beat()
        yield batch


def _best_measured(run: runs.Run, measured: matrix.Measured) -> Iterator[route.Decision]:
    """A calibration prompt needs no router: its best measured answer is already paid for."""
    known = np.flatnonzero(~np.isnan(measured.reward).all(axis=1))  # elsewhere the policy decides like anywhere else
    choice = per_prompt.best_measured(measured.reward[known])
    for row, teacher, margin in zip(known, choice.teacher_index, choice.margin, strict=True):
        yield route.Decision(
            measured.prompt_ids[row],
            run.teacher_ids[int(teacher)],
            "measured",
            coefficients=[None if np.isnan(value) else float(value) for value in measured.reward[row]],
            margin=_number(margin),
        )


class Asked(NamedTuple):
    """What the router says of a batch: coefficients (B, M), and for each prompt the nearest calibration prompts."""

    coefficients: NDArray[np.float64]
    neighbour_ids: list[list[int] | None]


class Asker:
    """The run's router, loaded to be asked."""

    def __init__(self, host: Host, run: runs.Run) -> None:
        from persyn.router import predict

        with host.engine.connect() as conn:
            stored = train.find(conn, run.id)
        if stored is None:
            raise Failed("no_router", "the run has no router yet; train it first", permanent=False)
        backbone = models.model_path(run.config.router.backbone, run.config.router.revision, host.home)
        self._router = predict.Router(Path(stored.artifact_path), stored.artifact_sha256, backbone)
        self.id = stored.id

    def ask(self, batch: Sequence[route.Undecided]) -> Asked:
        seen = self._router.look([prompt.messages for prompt in batch], NEIGHBOURS)
        return Asked(seen.coefficients, [*seen.neighbour_ids])


Decide = Callable[[list[route.Undecided]], list[route.Decision]]


def _by_router(run: runs.Run, asker: Asker) -> Decide:
    def decide(batch: list[route.Undecided]) -> list[route.Decision]:
        asked = asker.ask(batch)
        return list(_asked_decisions(run, asker.id, "router", batch, asked, per_prompt.highest(asked.coefficients)))

    return decide


def _asked_decisions(
    run: runs.Run, router_id: int, basis: str, prompts: Sequence[route.Undecided], asked: Asked,
    choice: per_prompt.Choice,
) -> Iterator[route.Decision]:  # fmt: skip
    for row, prompt in enumerate(prompts):
        yield route.Decision(
            prompt.prompt_id,
            run.teacher_ids[int(choice.teacher_index[row])],
            basis,
            router_id,
            [float(value) for value in asked.coefficients[row]],
            _number(choice.margin[row]),
            asked.neighbour_ids[row],
        )


def _by_prompt(run: runs.Run, measured: matrix.Measured) -> Decide:
    """The baselines: each prompt by itself, from what calibration measured and without a router."""
    choose = _baseline(run, measured)
    basis = "random" if run.config.policy in ("random", "mix") else "static"

    def decide(batch: list[route.Undecided]) -> list[route.Decision]:
        index = choose([prompt.sha256 for prompt in batch]).teacher_index
        return [
            route.Decision(prompt.prompt_id, run.teacher_ids[int(teacher)], basis)
            for prompt, teacher in zip(batch, index, strict=True)
        ]

    return decide


def _baseline(run: runs.Run, measured: matrix.Measured) -> Callable[[list[str]], per_prompt.Choice]:
    config, options = run.config, run.config.policy_options
    sizes = [teacher.params_b or 0.0 for teacher in config.teachers]
    if config.policy == "random":
        return lambda keys: per_prompt.uniform(len(sizes), config.seed, keys)
    if config.policy == "mix":
        names = [teacher.name for teacher in config.teachers]
        strong = names.index(options.strong) if options.strong else per_prompt.strongest(measured.quality, sizes)
        weak = names.index(options.weak) if options.weak else per_prompt.weakest(measured.quality, sizes)
        return lambda keys: per_prompt.mix(strong, weak, options.strong_share, config.seed, keys)
    if config.policy == "car":
        teacher = _most_compatible(measured, options.beta)
    else:
        among = config.own_family() if config.policy == "family_strong" else None
        teacher = per_prompt.strongest(measured.quality, sizes, among)
    return lambda keys: per_prompt.one_for_all(teacher, len(keys))


def _most_compatible(measured: matrix.Measured, beta: float) -> int:
    try:
        found = per_prompt.compatibility_adjusted(measured.quality, -measured.learnability, beta)
    except ValueError:
        message = (
            "the policy car divides a teacher's mean quality by its loss, and a mean quality here is below 0;"
            " use a quality scorer that is never negative, or another policy"
        )
        raise Failed("negative_quality", message, permanent=True) from None
    if np.isnan(found).all():
        message = "no teacher has both quality and learnability on the calibration set; audit.failures says what failed"
        raise Failed("not_measured", message, permanent=True)
    return int(np.nanargmax(found))


def _route_by_measure(
    host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim, measured: matrix.Measured
) -> None:
    """`oracle`: only what was measured counts, so the calibration set must be the whole set."""
    chosen = list(_best_measured(run, measured))
    known = {decision.prompt_id for decision in chosen}
    prompts = missing = 0
    for batch in _undecided(host, lease, run):
        prompts += len(batch)
        missing += sum(prompt.prompt_id not in known for prompt in batch)
    if host.stopping.is_set():
        return
    if missing:
        message = (
            f"the policy oracle needs measured answers to every prompt, and {missing} of {prompts} have none;"
            " start a run whose calibration.size covers the prompt set (answers that exist are not asked for again),"
            " or use another policy"
        )
        raise Failed("answers_missing", message, permanent=True)
    _store_at_once(host, lease, run, claim, iter(chosen))


def _route_within_budget(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim, asker: Asker) -> None:
    prompts: list[route.Undecided] = []
    answers: list[Asked] = []
    for batch in _undecided(host, lease, run):
        answers.append(asker.ask(batch))
        prompts += [prompt._replace(messages=[]) for prompt in batch]  # a hundred thousand texts need not stay
    if host.stopping.is_set():
        return
    asked = Asked(
        np.concatenate([np.empty((0, len(run.teacher_ids))), *(answer.coefficients for answer in answers)]),
        [ids for answer in answers for ids in answer.neighbour_ids],
    )
    names = [teacher.name for teacher in run.config.teachers]
    with host.engine.connect() as conn:
        usage = route.usage(conn, run.id, len(names))
    try:
        capacity = budgeted.capacities(names, run.config.policy_options.budget, usage, len(prompts))
    except ConfigError as exc:
        raise Failed("infeasible_budget", str(exc), permanent=True) from exc
    choice = budgeted.spread(asked.coefficients, capacity, [prompt.sha256 for prompt in prompts])
    _store_at_once(host, lease, run, claim, _asked_decisions(run, asker.id, "budget", prompts, asked, choice))


def _store_at_once(
    host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim, chosen: Iterator[route.Decision]
) -> None:
    """All decisions and the end of the job together. Raises LeaseLost, and then stores none."""
    stored = 0
    with host.engine.begin() as conn:
        while part := list(islice(chosen, BATCH)):
            lease.beat()
            route.write(conn, lease.id, run.id, run.config.policy, part)
            stored += len(part)
        if not jobs.complete(conn, lease.id, [claim.id]):
            conn.rollback()
    log.info("action=route run=%s prompts=%d", run.id, stored)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
