"""Draining the score queues: the answers that a scorer has not seen yet, in batches."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from persyn import jobs, runs
from persyn.errors import LeaseLost, PersynError
from persyn.inference import models
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import score
from workers.failures import failures
from workers.quality import Outcome, Scorer, quality_scorer
from workers.worker import Host

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

BATCH = 64


def drain_scores(host: Host, queue: str) -> None:
    """Score the queue's due jobs until none is left, one group of scorers after the other.

    All measures of one student's learnability are a group: they share the model and its forward pass. Raises LeaseLost,
    ModelError.
    """
    while not host.leaving():
        with host.engine.connect() as conn:
            due = jobs.next_group(conn, queue)
            group = [] if due is None or due[1] is None else _group(conn, due[1])
        if not group:
            return
        scorer_ids = [scorer.id for scorer in group]
        with host.lease(queue) as lease:
            try:
                score_batch = _scorer(host, group, lease)
            except PersynError as exc:
                host.refuse(queue, exc, scorer_ids=scorer_ids)
                raise
            for items in _batches(host, lease, queue, scorer_ids):
                try:
                    values, failed = score_batch(items)
                except LeaseLost:
                    raise
                except Exception as exc:
                    values, failed = [], failures([item.claim.id for item in items], exc)
                _store(host, lease, values, failed)


def _group(conn: "Connection", scorer_id: int) -> list[runs.ScorerVersion]:
    scorer = runs.load_scorer(conn, scorer_id)
    return [scorer] if scorer.student_id is None else runs.scorers_of_student(conn, scorer.student_id)


def _scorer(host: Host, group: Sequence[runs.ScorerVersion], lease: LeaseKeeper) -> Scorer:
    if group[0].kind == "quality":
        return quality_scorer(host, group[0], lease)
    return _learnability(_student(host, group[0]), group, lease)


def _batches(host: Host, lease: LeaseKeeper, queue: str, scorer_ids: Sequence[int]) -> Iterator[list[score.Item]]:
    reading = jobs.Reading()
    while not host.leaving():
        with host.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, BATCH, reading=reading, scorer_ids=scorer_ids)
            items = score.items(conn, claims)
        if not items:
            return
        yield items


def _store(host: Host, lease: LeaseKeeper, values: list[score.Value], failed: list[jobs.Failure]) -> None:
    with host.engine.begin() as conn:
        if values:
            score.store(conn, lease.id, values)
        if failed:
            jobs.fail(conn, lease.id, failed)
    log.info("action=score lease=%s values=%d failures=%d", lease.id, len(values), len(failed))


def _student(host: Host, scorer: runs.ScorerVersion) -> Any:
    """The scorer's student, loaded once and kept while it is asked for. Raises ModelError, MissingExtra."""
    from persyn.rewards.learnability.scorer import Learnability

    assert scorer.student_id is not None, "learnability has a student"
    number, kept = host.loaded_scorer or (None, None)
    # A reward model may stand here too, under a scorer's number.
    if number != scorer.student_id or not isinstance(kept, Learnability):
        host.loaded_scorer = None
        host.free_accelerator()
        path = models.model_path(scorer.student_model or "", scorer.student_revision, host.home)
        model = Learnability(path, revision=scorer.student_revision, max_length=scorer.student_max_length or 2048)
        host.loaded_scorer = (scorer.student_id, model)
        return model
    return kept


def _learnability(model: Any, group: Sequence[runs.ScorerVersion], lease: LeaseKeeper) -> Scorer:
    from persyn.rewards.learnability.scorer import Failure

    scorers = {scorer.id: scorer.config for scorer in group}

    def score_batch(items: Sequence[score.Item]) -> Outcome:
        values: list[score.Value] = []
        failed: list[jobs.Failure] = []
        for asked, answers in _by_scorers(items).items():
            pairs = [(group[0].messages, group[0].answer) for group in answers]
            measured = model.score(pairs, [scorers[id] for id in asked], on_progress=lambda *_: lease.beat())
            for item, outcome in _matched(answers, measured):
                if isinstance(outcome, Failure):
                    failed.append(jobs.Failure(item.claim.id, outcome.code, outcome.message, permanent=True))
                else:
                    values.append(score.Value(item, outcome.value, outcome.detail))
        return values, failed

    return score_batch


def _by_scorers(items: Sequence[score.Item]) -> dict[tuple[int, ...], list[list[score.Item]]]:
    """The answers, each with its items in the order of their scorers, by which scorers they are asked about."""
    answers: dict[int | None, list[score.Item]] = {}
    for item in sorted(items, key=lambda item: item.claim.scorer_id or 0):
        answers.setdefault(item.claim.generation_id, []).append(item)
    found: dict[tuple[int, ...], list[list[score.Item]]] = {}
    for group in answers.values():
        found.setdefault(tuple(item.claim.scorer_id or 0 for item in group), []).append(group)
    return found


def _matched(
    answers: Sequence[Sequence[score.Item]], measured: Sequence[Sequence[Any]]
) -> Iterator[tuple[score.Item, Any]]:
    for group, outcomes in zip(answers, measured, strict=True):
        yield from zip(group, outcomes, strict=True)
