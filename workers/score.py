"""Drains the score queues: the answers that a scorer has not seen yet, in batches."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from persyn import jobs, logs, versions
from persyn.errors import EndpointPaused, ModelError
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.jobs.pauses import Part
from persyn.stages import score, scorers
from persyn.workers.blame import Fault, blame, same_fault, told
from persyn.workers.fitness import Need
from persyn.workers.storing import store_each
from persyn.workers.worker import Worker

log = logging.getLogger(__name__)

BATCH = 64
YIELD_CHECK_S = 10.0


class ScoredBatch(NamedTuple):
    """The outcomes of a batch, or why it must be left to others or to later."""

    outcomes: Sequence[scorers.Outcome]
    ended_by: Exception | None = None


def drain_scores(worker: Worker, queue: str) -> None:
    """Score the queue's due jobs until none is left, one group of scorers after the other.

    All measures of one student's learnability are a group: they share the model and its forward pass. Raises LeaseLost.
    """
    while not worker.leaving():
        with worker.engine.connect() as conn:
            due = worker.next_group(conn, queue)
            group = [] if due is None or due.scorer_id is None else versions.scored_together(conn, due.scorer_id)
        if not group:
            return
        try:
            with worker.lease(queue) as lease:
                _drain_group(worker, lease, queue, group)
        except EndpointPaused as exc:
            worker.hold(Part(queue, scorer_id=group[0].id), exc)
        if worker.must_yield(queue):
            log.info("action=yield queue=%s another queue has waited too long", queue)
            return


def _drain_group(worker: Worker, lease: LeaseKeeper, queue: str, group: Sequence[versions.ScorerVersion]) -> None:
    """Score until nothing of the group is due, or others must come first. Raises LeaseLost, EndpointPaused."""
    needs = [Need(queue, scorer_id=scorer.id) for scorer in group]
    try:
        with lease.patience():
            score_batch = scorers.build(
                group, scorers.ScorerContext(worker.path_of, lease, worker.warm, worker.stopping, worker.paces)
            )
        for items in _batches(worker, lease, queue, [scorer.id for scorer in group]):
            batch = _score(score_batch, items)
            _store(worker, lease, batch.outcomes)
            if batch.ended_by is not None:
                raise batch.ended_by
            worker.is_fit(needs)
    except Exception as exc:
        if blame(exc) is not Fault.HOST:
            raise
        worker.is_unfit(needs, exc)


def _batches(worker: Worker, lease: LeaseKeeper, queue: str, scorer_ids: Sequence[int]) -> Iterator[list[score.Item]]:
    cursor, checked_at = jobs.ClaimCursor(), time.monotonic()
    while not worker.leaving():
        with worker.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, BATCH, cursor=cursor, scorer_ids=scorer_ids)
            items = score.items(conn, claims)
        if not items:
            return
        yield items
        if time.monotonic() - checked_at >= YIELD_CHECK_S:
            checked_at = time.monotonic()
            if worker.must_yield(queue) or worker.is_overtaken(queue, max(claim.stage for claim in claims)):
                log.info("action=yield queue=%s earlier work waits", queue)
                return


def _score(score_batch: scorers.ScoreBatch, items: Sequence[score.Item]) -> ScoredBatch:
    """The outcomes; an error that is no answer's own ends the batch instead, and its jobs go back."""
    try:
        outcomes = score_batch(items)
    except Exception as exc:
        if blame(exc) is not Fault.UNFORESEEN:
            return ScoredBatch([], exc)
        return ScoredBatch([score.Unscored(item, exc) for item in items])
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, score.Unscored)]
    shared = same_fault(errors, succeeded=len(outcomes) - len(errors))
    if shared is not None:
        return ScoredBatch([], ModelError(str(shared)))
    return ScoredBatch(outcomes, next((exc for exc in errors if blame(exc) is Fault.ENDPOINT), None))


def _store(worker: Worker, lease: LeaseKeeper, outcomes: Sequence[scorers.Outcome]) -> None:
    scored = [outcome for outcome in outcomes if isinstance(outcome, score.Scored)]
    unscored = [outcome for outcome in outcomes if isinstance(outcome, score.Unscored)]
    failed = [
        failure for one in unscored if blame(one.error) is not Fault.ENDPOINT
        for failure in told(one.item.claim, one.error)
    ]  # fmt: skip
    with worker.engine.begin() as conn:
        failed += store_each(conn, lease.id, scored, score.store, lambda one: one.item.claim.id)
        if failed:
            jobs.fail(conn, lease.id, failed)
    with logs.about(run=logs.several(one.item.claim.run_id for one in outcomes)):
        log.info("action=score lease=%s values=%d failures=%d", lease.id, len(scored), len(failed))
