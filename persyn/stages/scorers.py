"""Builds the function that scores a batch, one way for each kind of scorer.

A new kind needs its configuration in config/scorers.py, its mathematics in rewards/, and its case in `build`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from persyn.chat import spoken
from persyn.config import Consensus, Endpoint, Judge, MathVerify, RewardModel
from persyn.errors import ConfigError, JobFailed
from persyn.inference.clients.access import reachable, read_key
from persyn.inference.clients.batch import PacedRequests, ask_all
from persyn.inference.clients.endpoint import EndpointClient
from persyn.inference.clients.evidence import HARMLESS, HARMLESS_ANSWER
from persyn.inference.clients.pace import Paces
from persyn.inference.clients.pooling import TIMEOUT_S, PoolingClient
from persyn.inference.warm_model import WarmModel
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.consensus import consensus_score
from persyn.rewards.quality.judge import JudgeClient
from persyn.rewards.quality.math_verify import math_verify_score
from persyn.stages.score import Item, Scored, Unscored
from persyn.versions import ScorerVersion

Outcome = Scored | Unscored
ScoreBatch = Callable[[Sequence[Item]], Sequence[Outcome]]
Client = TypeVar("Client", bound=EndpointClient | JudgeClient)

VOTE_AWAITED_S = 120.0


class ScorerContext(NamedTuple):
    """The part of the worker that a scorer may use."""

    path_of: Callable[[str, str | None], str]  # of a model, by its reference and revision
    lease: LeaseKeeper  # beaten as the work moves
    warm: WarmModel
    stopping: threading.Event
    paces: Paces  # of the endpoints that this worker asks


def build(group: Sequence[ScorerVersion], context: ScorerContext) -> ScoreBatch:
    """A function that scores a batch by the scorers of the group: one of quality, or all of a student's learnability.

    Its model is loaded here, before anything is claimed. Raises ModelError, MissingExtra, and ConfigError where the
    key to an endpoint is not in the environment.
    """
    scorer = group[0]
    if scorer.kind == "learnability":
        return _learnability(group, context)
    match scorer.config:
        case MathVerify():
            return _math_verify(context)
        case Consensus():
            return _consensus(context)
        case RewardModel(endpoint=None):
            return _reward_model(scorer, scorer.config, context)
        case RewardModel(endpoint=Endpoint() as endpoint):
            return _served_reward_model(scorer.config, endpoint, context)
        case Judge():
            return _judge(scorer.config, context)
    raise ConfigError(f"The scorer {scorer.id} ({scorer.method}) is not computed by workers. Import its scores.")


def _math_verify(context: ScorerContext) -> ScoreBatch:
    def score(item: Item) -> Outcome:
        context.lease.beat()
        if item.reference_answer is None:
            message = "the prompt has no reference_answer to check the answer against"
            return Unscored(item, JobFailed("no_reference_answer", message, permanent=True))
        if item.answered.tool_calls:
            message = "the answer calls a tool, so it has no final answer to check"
            return Unscored(item, JobFailed("calls_a_tool", message, permanent=True))
        return _measured(item, math_verify_score(item.answered.answer, item.reference_answer))

    return lambda items: [score(item) for item in items]


def _consensus(context: ScorerContext) -> ScoreBatch:
    def score(item: Item) -> Outcome:
        context.lease.beat()
        if item.answered.tool_calls:
            message = "the answer calls a tool, so it has no final answer to compare"
            return Unscored(item, JobFailed("calls_a_tool", message, permanent=True))
        awaited = [name for name, answer in item.votes.items() if answer is None]
        if awaited:  # an operator gave the dead job of a voter a fresh start
            message = f"the answer of {', '.join(awaited)} is on its way again"
            return Unscored(item, JobFailed("vote_awaited", message, permanent=False, retry_after_s=VOTE_AWAITED_S))
        votes = {name: answer for name, answer in item.votes.items() if answer is not None}
        return _measured(item, consensus_score(item.answered.answer, votes))

    return lambda items: [score(item) for item in items]


def _reward_model(scorer: ScorerVersion, config: RewardModel, context: ScorerContext) -> ScoreBatch:
    from persyn.rewards.quality import reward_model  # noqa: PLC0415 - it loads torch

    def load() -> reward_model.RewardModel:
        return reward_model.RewardModel(
            context.path_of(config.model, config.revision),
            revision=config.revision, max_length=config.max_length, dtype=config.dtype,
        )  # fmt: skip

    model = context.warm.get(("reward_model", scorer.id), load)

    def score_batch(items: Sequence[Item]) -> Sequence[Outcome]:
        rewards = model.score([item.answered for item in items], on_progress=context.lease.beat)
        return [_measured(item, reward) for item, reward in zip(items, rewards, strict=True)]

    return score_batch


def _served_reward_model(config: RewardModel, endpoint: Endpoint, context: ScorerContext) -> ScoreBatch:
    from persyn.rewards.quality import reward_model  # noqa: PLC0415 - it loads torch

    owner = "scorers.quality (reward_model)"
    key, endpoint = read_key(endpoint, owner), reachable(endpoint, owner)
    path = context.path_of(config.model, config.revision)
    reader = reward_model.Reader(path, revision=config.revision, max_length=config.max_length)

    async def ask(client: PoolingClient, requests: PacedRequests, item: Item) -> Outcome:
        ids = reader.read(*item.answered)
        if isinstance(ids, JobFailed):
            return Unscored(item, ids)
        value = await requests.ask(lambda: client.score(ids), lambda _: len(ids))
        return _measured(item, reward_model.reward(value, len(ids)))

    def connect() -> PoolingClient:
        return PoolingClient(
            endpoint.url, config.model, api_key=key, headers=endpoint.headers,
            timeout_s=endpoint.timeout_s or TIMEOUT_S,
        )  # fmt: skip

    async def control(client: PoolingClient) -> None:
        ids = reader.read(HARMLESS, HARMLESS_ANSWER)
        if isinstance(ids, JobFailed):
            raise ids
        await client.score(ids)

    return _by_endpoint(
        f"reward_model {config.model} {endpoint.url}", endpoint, context, connect=connect, ask=ask, control=control
    )


def _judge(config: Judge, context: ScorerContext) -> ScoreBatch:
    owner = "scorers.quality (judge)"
    key, endpoint = read_key(config.endpoint, owner), reachable(config.endpoint, owner)
    config = config.model_copy(update={"endpoint": endpoint})

    async def ask(client: JudgeClient, requests: PacedRequests, item: Item) -> Outcome:
        plain = spoken(item.answered)
        verdict = await requests.ask(
            lambda: client.judge(plain.messages, plain.answer, item.reference_answer),
            lambda verdict: verdict.detail.get("prompt_tokens", 0) + verdict.detail.get("completion_tokens", 0),
        )
        return Scored(item, verdict.value, verdict.detail)

    async def control(client: JudgeClient) -> None:
        await client.judge(HARMLESS, HARMLESS_ANSWER, None)

    return _by_endpoint(
        f"judge {config.model} {endpoint.url}", endpoint, context,
        connect=lambda: JudgeClient(config, api_key=key), ask=ask, control=control,
    )  # fmt: skip


def _by_endpoint(
    owner: str,
    endpoint: Endpoint,
    context: ScorerContext,
    *,
    connect: Callable[[], Client],
    ask: Callable[[Client, PacedRequests, Item], Coroutine[Any, Any, Outcome]],
    control: Callable[[Client], Coroutine[Any, Any, None]],
) -> ScoreBatch:
    """Many requests in flight; what one batch learned of the endpoint's pace holds for the next batch too.

    An item with EndpointPaused is nobody's fault but the endpoint's, which is to be left alone.
    """
    pace = context.paces.of(owner, endpoint)
    pace.opened()

    async def ask_batch(items: Sequence[Item]) -> Sequence[Outcome]:
        client = connect()
        try:
            results = await ask_all(
                pace,
                items,
                lambda requests, item: ask(client, requests, item),
                control=lambda: control(client),
                on_tick=context.lease.beat,
                stopping=context.stopping.is_set,
            )
        finally:
            await client.aclose()
        return [Unscored(item, result) if isinstance(result, Exception) else result for item, result in results]

    return lambda items: asyncio.run(ask_batch(items))


def _measured(item: Item, result: Measurement | JobFailed) -> Outcome:
    if isinstance(result, JobFailed):
        return Unscored(item, result)
    return Scored(item, result.value, result.detail)


def _learnability(group: Sequence[ScorerVersion], context: ScorerContext) -> ScoreBatch:
    """All measures of one student: they share the model and its forward pass."""
    from persyn.rewards.learnability.scorer import Learnability  # noqa: PLC0415 - it loads torch

    first = group[0]

    def load() -> Learnability:
        path = context.path_of(first.student_model or "", first.student_revision)
        return Learnability(path, revision=first.student_revision, max_length=first.student_max_length or 2048)

    model = context.warm.get(("student", first.student_id), load)
    configs = {scorer.id: scorer.config for scorer in group}

    def score_batch(items: Sequence[Item]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for scorer_ids, answers in _by_scorers(items).items():
            distinct = [same[0].answered for same in answers]
            wanted: Any = [configs[scorer_id] for scorer_id in scorer_ids]
            measured = model.score(distinct, wanted, on_progress=lambda *_: context.lease.beat())
            for same, results in zip(answers, measured, strict=True):
                outcomes += map(_measured, same, results)
        return outcomes

    return score_batch


def _by_scorers(items: Sequence[Item]) -> dict[tuple[int, ...], list[list[Item]]]:
    """The answers by which scorers they are asked about, each with its items in the order of those scorers."""
    answers: dict[int | None, list[Item]] = {}
    for item in sorted(items, key=lambda item: item.claim.scorer_id or 0):
        answers.setdefault(item.claim.generation_id, []).append(item)
    groups: dict[tuple[int, ...], list[list[Item]]] = {}
    for same in answers.values():
        groups.setdefault(tuple(item.claim.scorer_id or 0 for item in same), []).append(same)
    return groups
