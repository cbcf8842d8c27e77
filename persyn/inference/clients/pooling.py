"""Asks a reward model that a vLLM pooling server holds (`vllm serve MODEL --runner pooling`)."""

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from persyn.inference.clients.endpoint import EndpointClient, shown

TIMEOUT_S = 120.0
ANSWER_BYTES = 1024 * 1024


class _Scored(BaseModel):
    probs: list[float] = Field(min_length=1)  # not probabilities: the head's own numbers, as we ask for no activation


class _Response(BaseModel):
    data: Annotated[list[_Scored], Field(min_length=1, max_length=1)]


class PoolingClient(EndpointClient):
    """A client of one reward model."""

    def __init__(
        self, url: str, model: str, *, api_key: str | None = None, timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`url` with or without /v1, beside which /classify lies."""
        super().__init__(
            url.rstrip("/").removesuffix("/v1"), model, api_key=api_key, timeout_s=timeout_s, headers=headers
        )

    async def score(self, ids: list[int]) -> float:
        """The head's raw number for one conversation, given as token ids. It may be no finite one.

        Raises RequestFailed as `post` does, `garbage` (transient), and `not_a_reward_model` (permanent).
        """
        request = {"model": self.model, "input": [ids], "use_activation": False, "add_special_tokens": False}
        status, body = await self.post("/classify", request, at_most=ANSWER_BYTES)
        try:
            values = _Response.model_validate(body).data[0].probs
        except ValidationError as exc:
            raise self.failed(
                "garbage", f"HTTP {status}: not a classification: {shown(json.dumps(body).encode())}"
            ) from exc
        if len(values) != 1:
            raise self.failed("not_a_reward_model", f"it gives {len(values)} numbers, not one", permanent=True)
        return values[0]
