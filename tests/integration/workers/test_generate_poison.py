"""A prompt that kills a real engine: vLLM on the CPU dies of a prompt that it reads in chunks and that has a seed."""

from importlib.util import find_spec
from typing import Any

import pytest

from persyn import runs
from persyn.inference.servers import vllm
from persyn.stages import pipeline
from persyn.states import Stage

pytestmark = [
    pytest.mark.models,
    pytest.mark.chaos_long,  # vLLM starts seven times
    pytest.mark.timeout(600),
    pytest.mark.skipif(not find_spec("vllm") or not vllm.is_cpu_build(), reason="needs vLLM's CPU build"),
]
# The longest prompt fits no chunk of 128 tokens; the others do, as long as each is alone.
CHUNKS = ["--enable-chunked-prefill", "--max-num-batched-tokens", "128", "--max-num-seqs", "8"]
POISON = 3


def test_a_prompt_that_kills_the_engine_kills_only_itself(site: Any, servable_model: str) -> None:
    for number in range(site.TEACHERS):
        site.changes[number] = {
            "endpoint": None, "model": servable_model, "sampling": {"temperature": 1.0, "max_tokens": 8},
            "server": {"kind": "vllm", "max_model_len": 512, "args": CHUNKS}, "system_prompt": None,
            "params_b": number + 1,
        }  # fmt: skip
    run_id = site.prepare(prompts=4, calibration=4, marked={POISON: "x" * 200})
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    queue = f"teacher.t0-{site.tag}"
    site.start_worker("--teachers", f"t0-{site.tag}")

    def finished() -> bool:
        left = site.scalar("SELECT count(*) FROM job WHERE queue = :q AND state IN ('ready', 'leased')", q=queue)
        return bool(left == 0)

    site.eventually(finished, deadline_s=500)
    ended = site.rows(
        """
        SELECT p.external_id, j.state, j.error_code, j.lost_count, j.attempt
        FROM job j JOIN prompt p ON p.id = j.prompt_id WHERE j.queue = :q ORDER BY p.external_id
        """,
        q=queue,
    )
    assert tuple(ended[POISON])[:4] == (f"p{POISON}", "dead", "poison", 3)
    assert [row.state for row in ended[:POISON]] == ["done"] * POISON
    assert site.scalar("SELECT count(*) FROM generation") == POISON
    reason = site.scalar("SELECT detail FROM job_event WHERE event = 'died'")
    assert "the model server died" in reason
    assert site.violations() == {}
