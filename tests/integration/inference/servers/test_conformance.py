"""One suite for all that can answer for a teacher: what the worker counts on holds for each, or is listed here."""

import asyncio
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from persyn import processes
from persyn.config import Sampling
from persyn.errors import RequestFailed
from persyn.inference.clients.chat_completions import Completion, TeacherClient
from persyn.inference.servers.server import Server
from persyn.inference.servers.spec import ServerSpec

REAL = [pytest.mark.models, pytest.mark.timeout(600)]


class Party(NamedTuple):
    """Somebody who answers. `server` is None for one that others run."""

    kind: str
    base_url: str
    model: str
    server: Server | None


@pytest.fixture(
    scope="module",
    params=[
        "stub",
        "remote",
        pytest.param("vllm", marks=[*REAL, pytest.mark.skipif(not find_spec("vllm"), reason="needs vllm")]),
        pytest.param("transformers", marks=REAL),
    ],
)
def party(request: Any, tmp_path_factory: pytest.TempPathFactory, servable_model: str) -> Iterator[Party]:
    kind = request.param
    spec = {
        "vllm": ServerSpec(servable_model, max_model_len=256, kind="vllm"),
        "transformers": ServerSpec(servable_model, dtype="float32", kind="transformers"),
    }.get(kind, ServerSpec("stub-model", max_model_len=256, kind="stub"))
    server = Server.start(spec, tmp_path_factory.mktemp(kind))
    try:
        # What "remote" means to the client: an address, and nobody to be asked about its process.
        yield Party(kind, server.base_url, server.model_name, None if kind == "remote" else server)
    finally:
        server.stop()


def ask(party: Party, texts: Sequence[str], *, seed: int = 0, **sampling: Any) -> list[Completion]:
    async def all_at_once() -> list[Completion]:
        client = TeacherClient(party.base_url, party.model, for_transformers=party.kind == "transformers")
        try:
            chats = [[{"role": "user", "content": text}] for text in texts]
            settings = Sampling(**({"max_tokens": 12} | sampling))
            return await asyncio.gather(*(client.generate(chat, settings, seed) for chat in chats))
        finally:
            await client.aclose()

    return asyncio.run(all_at_once())


def test_an_answer_comes_with_its_counts_and_its_reason_to_end(party: Party) -> None:
    [answer] = ask(party, ["hello"])
    assert answer.text
    assert answer.prompt_tokens > 0
    assert 0 < answer.completion_tokens <= 12
    assert answer.finish_reason in ("stop", "length")
    assert ask(party, ["hello"], max_tokens=3)[0].completion_tokens <= 3


def test_greedy_answers_are_the_same_whatever_the_seed(party: Party) -> None:
    assert ask(party, ["hello"], seed=1)[0].text == ask(party, ["hello"], seed=2)[0].text


def test_sampled_answers_hang_on_the_seed(party: Party) -> None:
    first, again, other = (ask(party, ["hello"], seed=seed, temperature=1.0)[0].text for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_many_at_once_get_each_an_answer(party: Party) -> None:
    assert len(ask(party, [f"number {n}" for n in range(16)])) == 16


def test_a_prompt_that_is_too_long_is_refused_for_good(party: Party) -> None:
    if party.kind == "transformers":
        pytest.skip("`transformers serve` checks no length")
    with pytest.raises(RequestFailed) as failed:
        ask(party, ["word " * 400])
    assert (failed.value.code, failed.value.permanent) == ("context_too_long", True)


def test_a_wrong_model_name_is_refused_for_good(party: Party) -> None:
    with pytest.raises(RequestFailed) as failed:
        ask(party._replace(model="another-model"), ["hello"])
    assert failed.value.permanent
    assert failed.value.code == ("bad_request" if party.kind == "transformers" else "model_not_found")


def test_progress_shows_while_it_works(party: Party) -> None:
    if party.server is None:
        pytest.skip("nobody can be asked about a remote endpoint")
    before = party.server.tokens()
    [answer] = ask(party, ["progress"])
    if party.kind == "transformers":
        assert before is None  # it counts no tokens; whole answers show the progress
    else:
        assert before is not None
        assert (party.server.tokens() or 0) >= before + answer.completion_tokens


def test_it_tells_its_health_and_its_version(party: Party) -> None:
    if party.server is None:
        pytest.skip("nobody can be asked about a remote endpoint")
    assert party.server.healthy()
    assert party.server.version != "unknown"


def test_nothing_of_it_is_left_after_a_stop(party: Party, tmp_path: Path) -> None:
    """The last one of each party: nothing that could hold a GPU's memory stays behind."""
    if party.server is None:
        pytest.skip("others end a remote endpoint")
    started = processes.start_time(party.server.pid)
    assert started is not None
    family = processes.members(party.server.pid, started)
    assert family
    party.server.stop()
    assert not any(map(processes.start_time, family))
