"""Drains the score queues: the answers that a scorer has not seen yet, in batches."""

import logging
from collections.abc import Iterator, Sequence

from persyn import jobs, versions
from persyn.errors import LeaseLost, PersynError
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import score, scorers
from persyn.workers.failures import failures
from persyn.workers.worker import Worker

log = logging.getLogger(__name__)

BATCH = 64


def drain_scores(worker: Worker, queue: str) -> None:
    """Score the queue's due jobs until none is left, one group of scorers after the other.

    All measures of one student's learnability are a group: they share the model and its forward pass. Raises LeaseLost,
    ModelError.
    """
    while not worker.leaving():
        with worker.engine.connect() as conn:
            due = jobs.next_group(conn, queue)
            group = [] if due is None or due[1] is None else versions.scored_together(conn, due[1])
        if not group:
            return
        scorer_ids = [scorer.id for scorer in group]
        with worker.lease(queue) as lease:
            try:
                context = scorers.ScorerContext(worker.home, lease, worker.warm, worker.stopping)
                score_batch = scorers.build(group, context)
            except PersynError as exc:
                worker.fail_batch(queue, exc, scorer_ids=scorer_ids)
                raise
            for items in _batches(worker, lease, queue, scorer_ids):
                _store(worker, lease, *_score(score_batch, items))


def _batches(worker: Worker, lease: LeaseKeeper, queue: str, scorer_ids: Sequence[int]) -> Iterator[list[score.Item]]:
    cursor = jobs.ClaimCursor()
    while not worker.leaving():
        with worker.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, BATCH, cursor=cursor, scorer_ids=scorer_ids)
            items = score.items(conn, claims)
        if not items:
            return
        yield items


def _score(
    score_batch: scorers.ScoreBatch, items: Sequence[score.Item]
) -> tuple[list[score.Scored], list[jobs.Failure]]:
    try:
        outcomes = score_batch(items)
    except LeaseLost:
        raise
    except Exception as exc:
        return [], failures([item.claim.id for item in items], exc)
    unscored = [outcome for outcome in outcomes if isinstance(outcome, score.Unscored)]
    failed = [failure for one in unscored for failure in failures([one.item.claim.id], one.error)]
    return [outcome for outcome in outcomes if isinstance(outcome, score.Scored)], failed


def _store(worker: Worker, lease: LeaseKeeper, scored: list[score.Scored], failed: list[jobs.Failure]) -> None:
    with worker.engine.begin() as conn:
        if scored:
            score.store(conn, lease.id, scored)
        if failed:
            jobs.fail(conn, lease.id, failed)
    log.info("action=score lease=%s values=%d failures=%d", lease.id, len(scored), len(failed))
