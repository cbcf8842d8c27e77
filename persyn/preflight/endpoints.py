"""Asks each endpoint of a run once, with a tiny request of the kind that the run will send.

A question of five words and an answer of at most 16 tokens show whether the address, the key, the model's name and
every parameter are taken, and whether the reply can be read.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx

from persyn.chat import conversation
from persyn.config import Endpoint, Judge, RewardModel, RunConfig, Teacher
from persyn.config.mistakes import closest
from persyn.errors import ConfigError, RequestFailed
from persyn.inference.clients.access import reachable, read_key
from persyn.inference.clients.chat_completions import TeacherClient
from persyn.inference.clients.endpoint import LOOPBACK
from persyn.inference.clients.pooling import PoolingClient
from persyn.preflight.report import Finding, WorkerNeed
from persyn.rewards.quality.judge import JudgeClient

QUESTION = [{"role": "user", "content": "What is two plus two?"}]
ANSWER = "Two plus two is four."
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum of two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
}
ANSWER_TOKENS = 16
TIMEOUT_S = 60.0
_LIST_TIMEOUT_S = 10.0
_LENGTHS = ("max_model_len", "context_length", "context_window", "max_context_length")


Ask = Callable[[Endpoint, str | None], Awaitable[Any]]  # the endpoint and its key


class EndpointReply(NamedTuple):
    """One endpoint's reply to one request. `seconds` and `tokens` are None where it is no teacher's answer."""

    owner: str
    findings: list[Finding]
    seconds: float | None = None
    tokens: int | None = None

    @property
    def answered(self) -> bool:
        return not any(finding.wrong for finding in self.findings)


class _Question(NamedTuple):
    """One endpoint to ask, on behalf of a part of the run."""

    about: str  # its key path
    owner: str
    endpoint: Endpoint
    model: str
    worker: str
    ask: Ask
    max_tokens: int | None = None
    tools: bool = False


def needs(config: RunConfig) -> list[WorkerNeed]:
    """The keys that each kind of worker needs in its environment."""
    named = [(question.worker, question.endpoint.api_key_env) for question in _questions(config)]
    return [
        WorkerNeed(worker, f"{name} in its environment") for worker, name in dict.fromkeys(named) if name is not None
    ]


def keys(config: RunConfig, *, elsewhere: bool) -> list[Finding]:
    """The keys that are not set here. `elsewhere`: workers on other hosts run, whose environment is their own."""
    found = []
    for question in _questions(config):
        try:
            _access(question)
        except ConfigError as exc:
            found.append(Finding(not elsewhere, f"{question.about}.endpoint.api_key_env", _no_key(question, exc)))
    return found


def _no_key(question: _Question, exc: ConfigError) -> str:
    name = question.endpoint.api_key_env
    if name is None or os.environ.get(name, "").strip():
        return str(exc).removeprefix(f"{question.owner}: ")
    return (
        f"the environment variable {name} is not set on this host, so {question.endpoint.url} was not asked."
        f" `persyn worker {question.worker}` needs it: set it there."
    )


def ask_all(config: RunConfig) -> list[EndpointReply]:
    """Each endpoint's reply to one request, all asked at once; without those whose key is not set here."""
    return asyncio.run(_ask_all(_questions(config)))


async def _ask_all(questions: list[_Question]) -> list[EndpointReply]:
    return [reply for reply in await asyncio.gather(*map(_ask, questions)) if reply is not None]


def _questions(config: RunConfig) -> list[_Question]:
    asked = []
    for number, teacher in enumerate(config.teachers):
        if teacher.endpoint is not None:
            worker = f"--teachers {teacher.name}"
            about, owner = f"teachers[{number}]", f"teacher {teacher.name}"
            longest = teacher.sampling.max_tokens
            asked.append(
                _Question(
                    about, owner, teacher.endpoint, teacher.needed_model(), worker, _teacher(teacher), longest,
                    teacher.tools,
                )
            )  # fmt: skip
    for scorer in config.scorers.quality:
        if isinstance(scorer, Judge | RewardModel) and scorer.endpoint is not None:
            about, owner = "scorers.quality", f"{scorer.kind} {scorer.model}"
            ask = _judge(scorer) if isinstance(scorer, Judge) else _reward(scorer)
            asked.append(_Question(about, owner, scorer.endpoint, scorer.model, "--scorers", ask))
    return asked


def _teacher(teacher: Teacher) -> Ask:
    async def ask(endpoint: Endpoint, key: str | None) -> Any:
        client = TeacherClient(
            endpoint.url, teacher.needed_model(), api_key=key, headers=endpoint.headers, timeout_s=TIMEOUT_S
        )
        messages = conversation(QUESTION, system_prompt=teacher.system_prompt, examples=_dicts(teacher))
        sampling = teacher.sampling
        try:
            short = sampling.model_copy(update={"max_tokens": min(ANSWER_TOKENS, sampling.max_tokens)})
            return await client.generate(messages, short, seed=short.seed_of(0), tools=[TOOL] if teacher.tools else ())
        finally:
            await client.aclose()

    return ask


def _dicts(teacher: Teacher) -> list[dict[str, str]]:
    return [message.model_dump() for message in teacher.examples]


def _judge(judge: Judge) -> Ask:
    async def ask(endpoint: Endpoint, key: str | None) -> Any:
        client = JudgeClient(judge.model_copy(update={"endpoint": endpoint}), api_key=key)
        try:
            return await client.judge(QUESTION, ANSWER, None)
        finally:
            await client.aclose()

    return ask


def _reward(model: RewardModel) -> Ask:
    async def ask(endpoint: Endpoint, key: str | None) -> Any:
        client = PoolingClient(endpoint.url, model.model, api_key=key, headers=endpoint.headers, timeout_s=TIMEOUT_S)
        try:
            return await client.score([1, 2, 3])  # any vocabulary has these; no tokenizer need be loaded
        finally:
            await client.aclose()

    return ask


def _access(question: _Question) -> tuple[Endpoint, str | None]:
    """The endpoint as this host's environment has it, and its key. Raises ConfigError where that is not set."""
    return reachable(question.endpoint, question.owner), read_key(question.endpoint, question.owner)


async def _ask(question: _Question) -> EndpointReply | None:
    try:
        endpoint, key = _access(question)
    except ConfigError:
        return None
    served = await _served(endpoint, key)
    try:
        async with asyncio.timeout(2 * TIMEOUT_S):
            answer = await question.ask(endpoint, key)
    except RequestFailed as exc:
        return EndpointReply(question.owner, [_refusal(question, exc, served)])
    except TimeoutError:
        told = f"{question.endpoint.url} gave no answer within {2 * TIMEOUT_S:.0f} s."
        return EndpointReply(question.owner, [Finding(True, f"{question.about}.endpoint", told)])
    findings = _too_long(question, served)
    seconds, tokens = getattr(answer, "latency_s", None), getattr(answer, "completion_tokens", None)
    return EndpointReply(question.owner, findings, seconds, tokens)


def _refusal(question: _Question, exc: RequestFailed, served: dict[str, int | None]) -> Finding:
    about, said = f"{question.about}.endpoint", str(exc).rstrip(".")
    match exc.code:
        case "rate_limited":
            return Finding(False, about, f"{said}. It is there, but takes no more requests now.")
        case "connection" | "timeout":
            told = f"{said}. Start it, or correct the address; where only workers can reach it, use --no-check."
        case "model_not_found":
            meant = closest(question.model, served)
            names = f" It serves {', '.join(list(served)[:5])}." if served else ""
            guess = f" Did you mean {meant}?" if meant else ""
            about, told = f"{question.about}.model", f"{said}.{guess}{names}"
        case "refused_auth":
            told = f"{said}. Correct the key in {question.endpoint.api_key_env or 'the variable of api_key_env'}."
        case "bad_request" if question.tools and "tool" in said.lower():
            about = f"{question.about}.tools"
            told = f"it refuses a request with tools: {said}. Serve it so that it takes them, or set this to false."
        case "bad_request" if question.max_tokens is not None:
            about, told = f"{question.about}.sampling", f"it refuses the run's requests: {said}. Change these keys."
        case "not_a_reward_model":
            told = f"{said}. Serve a model with one label."
        case _:
            told = f"{said}."
    return Finding(True, about, told)


def _too_long(question: _Question, served: dict[str, int | None]) -> list[Finding]:
    """The answer that has no room in the context that the server tells of."""
    context = served.get(question.model)
    if context is None or question.max_tokens is None or question.max_tokens < context:
        return []
    about = f"{question.about}.sampling.max_tokens"
    told = f"{question.max_tokens} leaves no room for a prompt in the model's context of {context} tokens. Lower it."
    return [Finding(True, about, told)]


async def _served(endpoint: Endpoint, key: str | None) -> dict[str, int | None]:
    """The models that the endpoint lists, with their context where it tells; none where it lists nothing readable."""
    headers = endpoint.headers | ({"Authorization": f"Bearer {key}"} if key else {})
    url = httpx.URL(f"{endpoint.url.rstrip('/')}/models")
    try:
        async with httpx.AsyncClient(trust_env=url.host not in LOOPBACK, timeout=_LIST_TIMEOUT_S) as client:
            listed = (await client.get(url, headers=headers)).json()["data"]
        return {str(model["id"]): _length(model) for model in listed[:1000]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return {}


def _length(model: dict[str, Any]) -> int | None:
    known = [model[name] for name in _LENGTHS if isinstance(model.get(name), int) and model[name] > 0]
    return known[0] if known else None
