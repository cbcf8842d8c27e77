"""Asks for one answer to one conversation over the OpenAI protocol."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from persyn.config import Sampling
from persyn.errors import RequestFailed
from persyn.inference.clients import replies
from persyn.inference.clients.endpoint import EndpointClient, JsonResponse, shown
from persyn.inference.clients.refusals import refusal
from persyn.tools import Call, Tool

TIMEOUT_S = 600.0
# Of an answer: room for its frame, and for each token's longest spelling in JSON with what servers add to it.
FRAME_BYTES = 1024 * 1024
TOKEN_BYTES = 1024
_OF_TOOLS = ("tool_choice", "parallel_tool_calls")
_FORMATS = re.compile(r"response_format|json_(schema|object)|structured|guided|grammar", re.IGNORECASE)


class Completion(NamedTuple):
    """One answer, and what it took; token counts are None where the server gives none."""

    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    tool_calls: list[Call] | None = None

    @property
    def tokens(self) -> int:
        """Read and written, as far as they are known."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


class TeacherClient(EndpointClient):
    """A client of one model's chat completions."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None = None, timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None, for_transformers: bool = False, teacher: str = "",
        is_own: bool = False,
    ) -> None:  # fmt: skip
        """`base_url` ends in /v1 as a rule. `for_transformers`: `transformers serve` answers, which is told more."""
        super().__init__(
            base_url, model, api_key=api_key, timeout_s=timeout_s, headers=headers, teacher=teacher, is_own=is_own
        )
        self._for_transformers = for_transformers
        self._limit_name: str | None = None  # the other name of max_tokens, once the server has asked for it
        self._takes_formats = True

    async def generate(
        self, messages: list[dict[str, Any]], sampling: Sampling, seed: int, response_format: Any | None = None,
        tools: Sequence[Tool] = (),
    ) -> Completion:  # fmt: skip
        """One answer to one conversation. An empty text, a refusal and a call of a tool are answers too.

        `response_format` is a wish: a server that takes none is asked without. So is one that wants the limit of tokens
        under its other name; the client remembers both.
        Raises RequestFailed as `post` does, and `garbage` (transient) for what is no chat completion.
        """
        began = time.monotonic()
        at_most = FRAME_BYTES + TOKEN_BYTES * sampling.max_tokens
        while True:
            request = self._request(messages, sampling, seed, response_format, tools)
            try:
                answer = await self.post("/chat/completions", request, at_most=at_most)
            except RequestFailed as exc:
                if exc.code != "bad_request" or not self._learns(str(exc), request, response_format):
                    raise _advised(exc, request) from exc.__cause__
            else:
                return self._completion(answer, time.monotonic() - began, tools)

    def _request(
        self, messages: list[dict[str, Any]], sampling: Sampling, seed: int, response_format: Any | None,
        tools: Sequence[Tool],
    ) -> dict[str, Any]:  # fmt: skip
        request: dict[str, Any] = {"model": self.model, "messages": messages}
        request |= sampling.request(seed, limit_name=self._limit_name)
        if response_format is not None and self._takes_formats:
            request.setdefault("response_format", response_format)
        if tools:
            request["tools"] = [*request.get("tools", ()), *tools]
        if "tools" not in request:  # servers refuse them alone
            for key in _OF_TOOLS:
                request.pop(key, None)
        if self._for_transformers:
            # It never samples unless it is told so in this form, and then fills gaps from the model author's defaults.
            drawn = {key: request[key] for key in ("temperature", "top_p", "top_k") if key in request}
            drawn = drawn if sampling.draws else {}
            config = {"do_sample": sampling.draws, "top_k": 0, "repetition_penalty": 1.0} | drawn
            request["generation_config"] = json.dumps(config)
            if not drawn:
                request = {key: value for key, value in request.items() if key not in ("temperature", "top_p")}
        return request

    def _learns(self, refusal: str, request: Mapping[str, Any], wish: Any | None) -> bool:
        """Whether the refusal says what the server wants instead, so that it may be asked again.

        Requests that were in flight together are refused together: what another one has learnt counts for each.
        """
        limits = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
        name = next(name for name in limits if name in request)
        if self._limit_name != name and name in refusal and limits[name] in refusal:
            self._limit_name = limits[name]
            return True
        if wish is not None and request.get("response_format") is wish and _FORMATS.search(refusal):
            self._takes_formats = False
            return True
        return False

    def _completion(self, answer: JsonResponse, latency_s: float, tools: Sequence[Tool]) -> Completion:
        status, body = answer
        choice = replies.first_choice(body)
        refused = refusal(status, {"error": choice.get("error")}, b"")
        if refused is not None:
            raise self.refused(refused, status)
        reply = replies.read(body, tools)
        if reply is None:
            raise self.failed("garbage", f"HTTP {status}: not a chat completion: {shown(json.dumps(body).encode())}")
        if reply.finish_reason.lower() in replies.FAILED:
            what = f"HTTP {status}: the answer ended with finish_reason {reply.finish_reason}"
            raise self.failed("server_error", what)
        return Completion(*reply[:-1], latency_s, reply.tool_calls)


def _advised(refused: RequestFailed, request: Mapping[str, Any]) -> RequestFailed:
    """The refusal; where it is of a parameter that need not be sent, with how to leave that out."""
    for name in ("temperature", "top_p", "seed"):
        if refused.code == "bad_request" and name in request and name in str(refused):
            message = f"{str(refused).rstrip('.')}; `{name}: null` in the teacher's sampling leaves it out"
            return RequestFailed(refused.code, message, permanent=True)
    return refused
