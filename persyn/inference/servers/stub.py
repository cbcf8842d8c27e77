"""A stand-in for a model server, which speaks the same protocol and has no model.

    python -m persyn.inference.servers.stub --port 8000 --model m

For tests, demonstrations and load tests without a GPU. Its answers are a function of the messages and the seed, and it
fails on request: by probability, or where a prompt says so. `[[stub:500]]` in a message fails every time it is asked,
`[[stub:500*2]]` the first two times. `POST /stub/config` changes its behaviour while it runs. `GET /stub/seen` tells
how often it was asked what; `GET /stub/requests` lists each request with how it ended, the newest last.
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import time
from collections import Counter, deque
from typing import Any, Literal, get_args

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from persyn import __version__
from persyn.config import fingerprint

FailureKind = Literal[
    "400", "401", "402", "403", "404", "429", "500", "503",  # plain HTTP errors; 429 and 503 carry Retry-After
    "403-moderated",  # the prompt's text is refused
    "429-in-200",  # an error where an answer is expected
    "400-context",  # the prompt is longer than the model's context
    "slow",  # answers, but only after `slow_s`
    "hang",  # never answers, as an engine that hangs
    "cut",  # half an answer, then the connection ends
    "garbage",  # 200, and not JSON
    "no-choices",  # 200, JSON, and not the protocol
    "empty",  # a good answer of no text
    "blank",  # white space
    "filtered", "refusal",  # no answer, each told in its own way
    "tool-call",  # a call of the first tool that the request offers, in place of a text
    "thoughts",  # an answer after thoughts between tags
    "unfinished",  # thoughts without an end
    "broken-off",  # half an answer, which the server says itself
    "uncounted",  # an answer without token counts
    "nul",  # an answer that holds NUL and a lone surrogate
    "die",  # the server's process ends at once
]  # fmt: skip
MARKER = re.compile(r"\[\[stub:([0-9a-z-]+)(?:\*(\d+))?\]\]")
MESSAGES = {
    "400": "This request is not valid.",
    "401": "Incorrect API key provided.",
    "402": "Insufficient credits.",
    "403": "This key may not use the model.",
    "404": "The model does not exist.",
    "429": "Too many requests.",
    "500": "Internal server error.",
    "503": "The server is overloaded.",
}
WORDS = (
    "so", "we", "add", "them", "and", "more", "then", "the", "sum", "is", "even", "now", "take", "part", "of", "it",
)  # fmt: skip


class StubConfig(BaseModel):
    """The stub's behaviour; `POST /stub/config` replaces the keys that it is given."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    latency_s: float = Field(default=0.0, ge=0.0, description="the median time to an answer")
    latency_sigma: float = Field(default=0.0, ge=0.0, description="spread of a lognormal latency; 0 makes it fixed")
    answer: str | None = Field(default=None, description="the text of every answer, in place of a made-up one")
    sums_right: float | None = Field(
        default=None, ge=0.0, le=1.0, description="adds up a sum in a prompt, such a share of them rightly"
    )
    answer_tokens: int = Field(default=16, ge=0, description="words of a made-up answer, the median")
    answer_sigma: float = Field(default=0.0, ge=0.0, description="spread of a lognormal length; 0 makes it fixed")
    token_s: float = Field(default=0.0, ge=0.0, description="time for each word of an answer, after the latency")
    max_model_len: int = Field(default=8192, ge=1, description="words of prompt and answer")
    failures: dict[FailureKind, float] = Field(default={}, description="probability of each failure, for every request")
    retry_after_s: float = Field(default=1.0, ge=0.0)
    retry_after: str | None = Field(default=None, description="that header as it is sent, whatever it says")
    slow_s: float = Field(default=5.0, ge=0.0)
    takes_tools: bool = Field(default=True, description="false refuses a request with tools, as vLLM does by default")
    seed: int = Field(default=0, description="of latencies and failures, not of answers")


class ChatRequest(BaseModel):
    """The part of a request that the stub reads; other keys are ignored, as servers do."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int = Field(default=1024, ge=1)
    seed: int | None = None
    tools: list[dict[str, Any]] = []


SUM = re.compile(r"(\d+) \+ (\d+)")
REQUESTS_KEPT = 100_000


class Seen(BaseModel):
    """One request. `outcome` stays `running` for one that hangs, and where the client leaves it is `gone`."""

    number: int
    sha256: str = Field(description="of the messages")
    times: int = Field(description="how often these messages were asked by then")
    at: float = Field(description="seconds of Unix time")
    failure: str | None = None
    outcome: str = Field(default="running", description="running, gone, or the HTTP status of the answer")


class Stub:
    """The server's state: its behaviour, and what it was asked."""

    def __init__(self, model: str, config: StubConfig) -> None:
        self.model = model
        self.config = config
        self.asked: Counter[str] = Counter()  # sha256 of the messages -> times
        self.requests: deque[Seen] = deque(maxlen=REQUESTS_KEPT)
        self.running = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0

    async def answer(self, request: ChatRequest) -> Response:
        key = fingerprint(request.messages)
        self.asked[key] += 1
        draws = random.Random(f"{self.config.seed} {key} {self.asked[key]}")
        failure = self._failure(request, self.asked[key], draws)
        seen = Seen(number=self.asked.total(), sha256=key, times=self.asked[key], at=time.time(), failure=failure)
        self.requests.append(seen)
        self.running += 1
        try:
            await asyncio.sleep(self._latency_s(draws))
            response = await self._fail(failure) or await self._complete(request, failure)
            seen.outcome = str(response.status_code)
            return response
        except asyncio.CancelledError:
            seen.outcome = "gone"
            raise
        finally:
            self.running -= 1

    def _failure(self, request: ChatRequest, times_asked: int, draws: random.Random) -> str | None:
        for message in request.messages:
            for name, times in MARKER.findall(str(message.get("content"))):
                if not times or times_asked <= int(times):
                    return str(name)
        drawn = draws.random()
        for failure, probability in self.config.failures.items():
            drawn -= probability
            if drawn < 0:
                return failure
        return "404" if request.model != self.model else None

    def _latency_s(self, draws: random.Random) -> float:
        if self.config.latency_s == 0.0:
            return 0.0
        return draws.lognormvariate(math.log(self.config.latency_s), self.config.latency_sigma)

    async def _fail(self, failure: str | None) -> Response | None:
        """None where the request is to be answered after all."""
        match failure:
            case "die":
                os._exit(1)
            case "hang":
                await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(self.config.slow_s)
            case "cut":
                return CutResponse()
            case "garbage":
                return Response("<html>Bad gateway {", media_type="application/json")
            case "no-choices":
                return JSONResponse({"object": "chat.completion", "choices": []})
            case "400-context":
                return self._context_error()
            case "403-moderated":
                return error(403, "The input was flagged by moderation.")
            case "429-in-200":
                return JSONResponse({"error": {"message": "Too many requests.", "code": 429}})
            case status if status in MESSAGES:
                said = self.config.retry_after
                wait = {"Retry-After": f"{self.config.retry_after_s:g}" if said is None else said}
                return error(int(status), MESSAGES[status], headers=wait if status in ("429", "503") else None)
            case other if other is not None and other not in get_args(FailureKind):
                return error(400, f"The stub has no failure called {other}; it has {', '.join(get_args(FailureKind))}.")
        return None

    def _context_error(self) -> Response:
        limit = self.config.max_model_len
        return error(400, f"This model's maximum context length is {limit} tokens.", code="context_length_exceeded")

    async def _complete(self, request: ChatRequest, failure: str | None) -> Response:
        if request.tools and not self.config.takes_tools:
            return error(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        prompt_tokens = sum(len(str(message.get("content")).split()) for message in request.messages)
        if prompt_tokens >= self.config.max_model_len:
            return self._context_error()
        words = [] if failure in _TEXTLESS else self._words(request)
        cut = len(words) > request.max_tokens
        words = words[: request.max_tokens]
        await asyncio.sleep(self.config.token_s * len(words))
        text = " ".join(words) + ("\0\ud800" if failure == "nul" else "")
        self.prompt_tokens += prompt_tokens
        self.generation_tokens += len(words)
        body: dict[str, Any] = {
            "id": f"stub-{self.asked.total()}",
            "object": "chat.completion",
            "model": self.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "length" if cut else "stop",
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": len(words),
                "total_tokens": prompt_tokens + len(words),
            },
        }
        _spoil(body, failure, request.tools)
        # ASCII, so that a lone surrogate travels as an escape, the way real servers send it.
        return Response(json.dumps(body), media_type="application/json")

    def _words(self, request: ChatRequest) -> list[str]:
        if self.config.answer is not None:
            return self.config.answer.split(" ")
        chosen = random.Random(f"{self.model} {fingerprint(request.messages)} {request.seed}")
        if self.config.sums_right is not None and (found := SUM.search(str(request.messages[-1].get("content")))):
            total = int(found[1]) + int(found[2]) + (chosen.random() >= self.config.sums_right)
            return ["The", "answer", "is", f"{total}."]
        count = self.config.answer_tokens
        if count and self.config.answer_sigma:
            count = max(1, round(chosen.lognormvariate(math.log(count), self.config.answer_sigma)))
        return chosen.choices(WORDS, k=count)


class CutResponse(Response):
    """Begins an answer and leaves, which makes uvicorn drop the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices": [{"mess', "more_body": True})


_TEXTLESS = ("empty", "blank", "filtered", "refusal", "tool-call", "unfinished")


def _call(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """A call of the first tool with a value for each parameter; without tools, of one that nobody offered."""
    function: dict[str, Any] = tools[0]["function"] if tools else {"name": "add"}
    values = {"string": "so", "integer": 1, "number": 0.5, "boolean": True, "array": [], "object": {}}
    properties = function.get("parameters", {}).get("properties", {})
    arguments = {name: values.get(schema.get("type", "string"), "so") for name, schema in properties.items()}
    return {
        "id": "c1",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments)},
    }


def _spoil(body: dict[str, Any], failure: str | None, tools: list[dict[str, Any]]) -> None:
    """Make a good answer the one that the failure's name tells, as servers write it."""
    [choice] = body["choices"]
    message = choice["message"]
    match failure:
        case "blank":
            message["content"] = " \n "
        case "filtered":
            message["content"], choice["finish_reason"] = None, "content_filter"
        case "refusal":
            message |= {"content": None, "refusal": "I will not do this."}
        case "tool-call":
            message |= {"content": None, "tool_calls": [_call(tools)]}
            choice["finish_reason"] = "tool_calls"
        case "thoughts":
            message["content"] = f"<think>\nFirst I look.\n</think>\n\n{message['content']}"
        case "unfinished":
            message["content"], choice["finish_reason"] = "<think>\nFirst I look, then", "length"
        case "broken-off":
            choice |= {"finish_reason": "error", "error": {"code": 502, "message": "the provider went away"}}
        case "uncounted":
            body["usage"] = {"prompt_tokens": None, "completion_tokens": -1}


def error(status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"message": message, "type": "stub", "param": None, "code": code or status}}
    return JSONResponse(body, status_code=status, headers=headers)


def create_app(stub: Stub) -> FastAPI:
    app = FastAPI(title="PerSyn's stub server")

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, exc: RequestValidationError) -> Response:
        return error(400, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()))

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": f"stub {__version__}"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": stub.model, "object": "model", "owned_by": "stub"}]}

    @app.post("/v1/chat/completions")
    async def chat_completions(request: ChatRequest) -> Response:
        return await stub.answer(request)

    @app.get("/metrics")
    async def metrics() -> Response:
        counters = {
            "vllm:num_requests_running": stub.running,
            "vllm:prompt_tokens_total": stub.prompt_tokens,
            "vllm:generation_tokens_total": stub.generation_tokens,
        }
        labels = f'{{engine="0",model_name="{stub.model}"}}'
        return PlainTextResponse("".join(f"{name}{labels} {value:.1f}\n" for name, value in counters.items()))

    _add_controls(app, stub)
    return app


def _add_controls(app: FastAPI, stub: Stub) -> None:
    """Add the routes that a test asks beside the protocol."""

    @app.get("/stub/config")
    async def read_config() -> StubConfig:
        return stub.config

    @app.post("/stub/config")
    async def change_config(changes: dict[str, Any]) -> Response:
        try:
            stub.config = StubConfig.model_validate(stub.config.model_dump() | changes)
        except ValueError as exc:
            return error(400, str(exc))
        return JSONResponse(stub.config.model_dump())

    @app.get("/stub/seen")
    async def seen() -> dict[str, Any]:
        return {"requests": stub.asked.total(), "times_by_sha256": dict(stub.asked)}

    @app.get("/stub/requests")
    async def requests(after: int = 0, limit: int = 10_000) -> list[Seen]:
        return [seen for seen in stub.requests if seen.number > after][:limit]


def parse_arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, StubConfig]:
    parser = argparse.ArgumentParser(prog="python -m persyn.inference.servers.stub")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--load-s", type=float, default=0.0, help="it listens after so long, as a large model does")
    parser.add_argument("--fail", action="append", default=[], metavar="NAME=PROBABILITY", help="may be repeated")
    knobs = [name for name in StubConfig.model_fields if name != "failures"]
    for name in knobs:
        parser.add_argument(f"--{name.replace('_', '-')}", help=StubConfig.model_fields[name].description)
    args = parser.parse_args(argv)
    given = {name: getattr(args, name) for name in knobs if getattr(args, name) is not None}
    try:
        failures = dict(item.split("=", 1) for item in args.fail)
        return args, StubConfig.model_validate(given | {"failures": failures})
    except ValueError as exc:
        parser.error(str(exc))


def main() -> None:
    args, config = parse_arguments()
    time.sleep(args.load_s)
    app = create_app(Stub(args.model, config))
    # Requests that hang must not keep the server from ending.
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
