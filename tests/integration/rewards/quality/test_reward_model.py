"""A reward model in a real vLLM pooling server: slow, and the only proof that both ways score alike."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from persyn.errors import RequestFailed
from persyn.inference.clients.pooling import PoolingClient
from persyn.inference.servers.server import Server
from persyn.inference.servers.spec import ServerSpec
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.reward_model import RewardModel

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not find_spec("vllm"), reason="needs vllm"),
]


def test_a_pooling_server_gives_the_numbers_of_the_model_in_process(tiny_reward_model: str, tmp_path: Path) -> None:
    model = RewardModel(tiny_reward_model, max_length=512, device="cpu")
    items = [([{"role": "user", "content": f"Question {n}?</s>"}], "Yes, <s>" * (n % 7) + "!") for n in range(40)]
    here = [result.value for result in model.score(items) if isinstance(result, Measurement)]
    assert len(here) == 40
    assert len(set(here)) > 10
    server = Server.start(ServerSpec(tiny_reward_model, args=("--runner", "pooling")), tmp_path)

    async def ask() -> list[float | RequestFailed]:
        client = PoolingClient(server.base_url, tiny_reward_model)
        rows: list[Any] = [model.reader.read(*item) for item in items]
        try:
            return await asyncio.gather(*map(client.score, [*rows, [5] * 600]), return_exceptions=True)  # type: ignore
        finally:
            await client.aclose()

    try:
        *there, too_long = asyncio.run(ask())
    finally:
        server.stop()
    assert there == pytest.approx(here, abs=1e-3)
    assert isinstance(too_long, RequestFailed)
    assert too_long.code == "context_too_long"
