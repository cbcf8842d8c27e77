"""How a worker scores quality: one way for each method, all of the same shape."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from persyn import jobs, runs
from persyn.config import Endpoint, Judge, MathVerify, RewardModel
from persyn.errors import ConfigError
from persyn.inference import models
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import score
from workers.asking import Asker, Result
from workers.worker import Host

if TYPE_CHECKING:
    from persyn.rewards.quality import reward_model

Outcome = tuple[list[score.Value], list[jobs.Failure]]
Scorer = Callable[[Sequence[score.Item]], Outcome]


def quality_scorer(host: Host, scorer: runs.ScorerVersion, lease: LeaseKeeper) -> Scorer:
    """What scores a batch by this scorer; its model is loaded here, before anything is claimed.

    Raises ModelError, MissingExtra, and ConfigError where the key to an endpoint is not in the environment.
    """
    match scorer.config:
        case MathVerify():
            return _math_verify(lease)
        case RewardModel(endpoint=None):
            return _reward_model(host, scorer.id, scorer.config, lease)
        case RewardModel(endpoint=Endpoint() as endpoint):
            return _served_reward_model(host, scorer.config, endpoint, lease)
        case Judge():
            return _judge(host, scorer.config, lease)
    raise ConfigError(f"The scorer {scorer.id} ({scorer.method}) is not computed by workers. Import its scores.")


def _math_verify(lease: LeaseKeeper) -> Scorer:
    from persyn.rewards.quality import math_verify

    def score_batch(items: Sequence[score.Item]) -> Outcome:
        values: list[score.Value] = []
        failed: list[jobs.Failure] = []
        for item in items:
            lease.beat()
            if item.reference_answer is None:
                message = "the prompt has no reference_answer to check the answer against"
                failed.append(jobs.Failure(item.claim.id, "no_reference_answer", message, permanent=True))
                continue
            verdict = math_verify.math_verify_score(item.answer, item.reference_answer)
            values.append(score.Value(item, verdict.value, verdict.detail))
        return values, failed

    return score_batch


def _reward_model(host: Host, scorer_id: int, config: RewardModel, lease: LeaseKeeper) -> Scorer:
    from persyn.rewards.quality import reward_model

    kept = host.loaded_scorer
    if kept is not None and kept[0] == scorer_id and isinstance(kept[1], reward_model.RewardModel):
        model = kept[1]
    else:
        host.loaded_scorer = None  # two models at once may not fit
        host.free_accelerator()
        model = reward_model.RewardModel(
            models.model_path(config.model, config.revision, host.home),
            revision=config.revision, max_length=config.max_length, dtype=config.dtype,
        )  # fmt: skip
        host.loaded_scorer = (scorer_id, model)

    def score_batch(items: Sequence[score.Item]) -> Outcome:
        found = model.score([(item.messages, item.answer) for item in items], on_progress=lease.beat)
        return _sorted([_result(item, reward) for item, reward in zip(items, found, strict=True)])

    return score_batch


def _served_reward_model(host: Host, config: RewardModel, endpoint: Endpoint, lease: LeaseKeeper) -> Scorer:
    from persyn.inference.clients import pooling
    from persyn.rewards.quality import reward_model

    key, asker = _key(endpoint, "reward_model"), Asker(host, lease, endpoint)
    path = models.model_path(config.model, config.revision, host.home)
    reader = reward_model.Reader(path, revision=config.revision, max_length=config.max_length)

    async def ask(client: pooling.PoolingClient, item: score.Item) -> Result:
        ids = reader.read(item.messages, item.answer)
        if isinstance(ids, reward_model.Failure):
            return _result(item, ids)
        return _result(item, reward_model.reward(await client.score(ids), len(ids)))

    def score_batch(items: Sequence[score.Item]) -> Outcome:
        client = pooling.PoolingClient(endpoint.url, config.model, api_key=key)
        return _sorted(asyncio.run(asker.ask_all(client, items, ask)))

    return score_batch


def _judge(host: Host, config: Judge, lease: LeaseKeeper) -> Scorer:
    from persyn.rewards.quality import judge

    key, asker = _key(config.endpoint, "judge"), Asker(host, lease, config.endpoint)

    async def ask(client: judge.JudgeClient, item: score.Item) -> Result:
        verdict = await client.judge(item.messages, item.answer, item.reference_answer)
        return score.Value(item, verdict.value, verdict.detail)

    def score_batch(items: Sequence[score.Item]) -> Outcome:
        client = judge.JudgeClient(config, api_key=key)
        return _sorted(asyncio.run(asker.ask_all(client, items, ask)))

    return score_batch


def _result(item: score.Item, found: "reward_model.Reward | reward_model.Failure") -> Result:
    from persyn.rewards.quality import reward_model

    if isinstance(found, reward_model.Failure):
        return jobs.Failure(item.claim.id, found.code, found.message, permanent=True)
    return score.Value(item, found.value, {"tokens": found.tokens})


def _sorted(results: Sequence[Result]) -> Outcome:
    values = [result for result in results if isinstance(result, score.Value)]
    return values, [result for result in results if isinstance(result, jobs.Failure)]


def _key(endpoint: Endpoint, method: str) -> str | None:
    """The key to an endpoint; None where it needs none. The key itself stands in no message."""
    name = endpoint.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"scorers.quality ({method}): the environment variable {name}, which holds the key to {endpoint.url},"
            " is not set on this worker. Set it and start the worker again."
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"scorers.quality ({method}): the environment variable {name} holds characters that no key can have."
            " Set it to the key alone."
        )
    return key
