"""Draining the score queues: the answers that a scorer has not seen yet, in batches."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from persyn import jobs, runs
from persyn.errors import LeaseLost, PersynError
from persyn.inference import load
from persyn.leases import LeaseKeeper
from persyn.rewards import scoring
from workers.failures import failures
from workers.host import Host
from workers.quality import Outcome, Scorer, quality_scorer

log = logging.getLogger(__name__)

BATCH = 64


def drain_scores(host: Host, queue: str) -> None:
    """Score the queue's due jobs until none is left, one scorer after the other. Raises LeaseLost, ModelError."""
    while not host.leaving():
        with host.engine.connect() as conn:
            group = jobs.next_group(conn, queue)
            scorer = None if group is None or group[1] is None else runs.load_scorer(conn, group[1])
        if scorer is None:
            return
        try:
            model = _student(host, scorer) if scorer.kind == "learnability" else None
        except PersynError as exc:
            host.refuse(queue, exc, scorer_ids=[scorer.id])
            raise
        with host.lease(queue) as lease:
            score = quality_scorer(host, scorer, lease) if model is None else _learnability(model, lease)
            for items in _batches(host, lease, queue, scorer.id):
                try:
                    values, failed = score(items)
                except LeaseLost:
                    raise
                except Exception as exc:
                    values, failed = [], failures([item.claim.id for item in items], exc)
                _store(host, lease, values, failed)


def _batches(host: Host, lease: LeaseKeeper, queue: str, scorer_id: int) -> Iterator[list[scoring.Item]]:
    while not host.leaving():
        with host.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, BATCH, scorer_ids=[scorer_id])
            items = scoring.items(conn, claims)
        if not items:
            return
        yield items


def _store(host: Host, lease: LeaseKeeper, values: list[scoring.Value], failed: list[jobs.Failure]) -> None:
    with host.engine.begin() as conn:
        if values:
            scoring.store(conn, lease.id, values)
        if failed:
            jobs.fail(conn, lease.id, failed)
    log.info("action=score lease=%s values=%d failures=%d", lease.id, len(values), len(failed))


def _student(host: Host, scorer: runs.ScorerVersion) -> Any:
    """The scorer's student, loaded once and kept while it is asked for. Raises ModelError, MissingExtra."""
    from persyn.rewards import learnability

    if host.loaded_scorer is None or host.loaded_scorer[0] != scorer.id:
        host.free_accelerator()
        path = load.model_path(scorer.student_model or "", scorer.student_revision, host.home)
        model = learnability.Learnability(
            path, revision=scorer.student_revision, max_length=scorer.student_max_length or 2048
        )
        host.loaded_scorer = (scorer.id, model)
    return host.loaded_scorer[1]


def _learnability(model: Any, lease: LeaseKeeper) -> Scorer:
    from persyn.rewards import learnability

    def score(items: Sequence[scoring.Item]) -> Outcome:
        values: list[scoring.Value] = []
        failed: list[jobs.Failure] = []
        pairs = [(item.messages, item.answer) for item in items]
        for item, outcome in zip(items, model.score(pairs, on_progress=lambda *_: lease.beat()), strict=True):
            if isinstance(outcome, learnability.Failure):
                failed.append(jobs.Failure(item.claim.id, outcome.code, outcome.message, permanent=True))
            else:
                values.append(scoring.Value(item, outcome.value, {"tokens": outcome.tokens}))
        return values, failed

    return score
