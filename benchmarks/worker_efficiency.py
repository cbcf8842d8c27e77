"""Tokens per second through queue, worker and server, against the same server asked directly.

Three ways to the same answers, from one server that stays up, on the same prompts with the same seeds, so that the
lengths are the same as well; they are the model's own, and mixed, because half of the prompts want a word and half an
explanation:

- **bare**: a client that keeps 64 requests in flight until none is left. This is the limit.
- **queue**: jobs in Postgres, drained by the worker's own code: claims, leases, heartbeats, answers and events stored.
- **static**: batches of 64, each waited for as a whole: what continuous batching saves.

The stub server (`--kind stub`) computes nothing and takes its time by the word: there the processor is free, and what
is left is the cost of the worker itself and the wait for the longest of a batch. `--model tiny` is a random model that
answers thousands of tokens a second (with `--temperature 1`, or it repeats itself to the end).
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import routed_run
from persyn import runs, versions
from persyn.config import Teacher, parse_run
from persyn.imports.prompts import import_prompts
from persyn.inference import random_model
from persyn.inference.clients.chat_completions import Completion, TeacherClient
from persyn.jobs import wake_ups
from persyn.stages import generate, pipeline
from persyn.states import Stage
from persyn.workers.generate import IN_FLIGHT, drain_teacher
from persyn.workers.worker import Target, Worker

STUB_ARGS = ["--latency-s", "0.05", "--answer-tokens", "60", "--answer-sigma", "0.8", "--token-s", "0.01"]


def main() -> None:
    options = _options()
    rates: dict[str, list[float]] = {"bare": [], "queue": [], "static": []}
    with routed_run.site() as site, tempfile.TemporaryDirectory() as folder:
        if options.model == "tiny":
            options.model = random_model.build(Path(folder, "tiny"))
        worker = Worker(site.engine, Path(folder))
        try:
            teacher = _teacher(options)
            target = worker.target(versions.TeacherVersion(0, teacher))
            seeds = _import(worker, options.prompts, folder)
            asyncio.run(_directly(target, teacher, seeds[:IN_FLIGHT], batch=None))  # warm, and not counted
            for number in range(options.repeat):
                rates["bare"].append(asyncio.run(_directly(target, teacher, seeds, batch=None)))
                rates["queue"].append(_through_the_queue(worker, teacher, options.prompts, number))
                rates["static"].append(asyncio.run(_directly(target, teacher, seeds, batch=IN_FLIGHT)))
                print(
                    f"  round {number + 1}: " + ", ".join(f"{name} {r[-1]:,.0f} tokens/s" for name, r in rates.items()),
                    flush=True,
                )
        finally:
            worker.close()
    medians = {name: statistics.median(found) for name, found in rates.items()}
    # The ratio of each round, for the machine's load changes from round to round.
    ratios = {
        rival: statistics.median(ours / theirs for ours, theirs in zip(rates["queue"], rates[rival], strict=True))
        for rival in ("bare", "static")
    }
    print(f"\nmedians of {options.repeat}; {options.prompts} prompts, model {options.model}, server {options.kind}")
    print(f"queue is {ratios['bare']:.3f} × bare and {ratios['static']:.2f} × static batches of {IN_FLIGHT}")
    print(json.dumps({**vars(options), "tokens_per_s": medians, "queue_to": ratios}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_efficiency")
    parser.add_argument("--kind", choices=["stub", "auto", "vllm", "transformers"], default="stub")
    parser.add_argument(
        "--model", default="bundled:smollm2-135m-instruct", help="not read by the stub; tiny: a random one"
    )
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0, help="0: greedy")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def _teacher(options: argparse.Namespace) -> Teacher:
    server: dict[str, Any] = {"kind": options.kind, "max_model_len": None if options.kind == "transformers" else 512}
    if options.kind == "stub":
        server["args"] = STUB_ARGS
    sampling = {"max_tokens": options.max_tokens, "temperature": options.temperature}
    given = {"name": "t0", "family": "f", "params_b": 1, "model": options.model, "sampling": sampling, "server": server}
    return Teacher.model_validate(given)


def _prompts(count: int) -> list[str]:
    short = "In one word: which is more, {n} or {m}?"
    long = "Explain step by step how one computes {n} times {m} by hand."
    return [(long if n % 2 else short).format(n=n, m=n * 7 % 100) for n in range(count)]


async def _directly(target: Target, teacher: Teacher, seeds: list[int], *, batch: int | None) -> float:
    """Completion tokens a second; in whole batches, or as many as IN_FLIGHT always in flight. One seed a prompt."""
    client = TeacherClient(target.base_url, target.model)
    places = asyncio.Semaphore(IN_FLIGHT)

    async def ask(text: str, seed: int) -> Completion:
        async with places:
            return await client.generate([{"role": "user", "content": text}], teacher.sampling, seed)

    asked, answers = list(zip(_prompts(len(seeds)), seeds, strict=True)), []
    size = batch or len(asked)
    began = time.perf_counter()
    for start in range(0, len(asked), size):
        answers += await asyncio.gather(*(ask(text, seed) for text, seed in asked[start : start + size]))
    took = time.perf_counter() - began
    await client.aclose()
    return sum(answer.completion_tokens or 0 for answer in answers) / took


def _import(worker: Worker, count: int, folder: str) -> list[int]:
    """The prompts as a set of the database; returns the seed that the queue will ask each with."""
    source = Path(folder, "prompts.jsonl")
    lines = [{"id": str(n), "prompt": text, "reference_answer": "1"} for n, text in enumerate(_prompts(count))]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_prompts(worker.engine, "prompts", [str(source)])
    with worker.engine.connect() as conn:
        hashes = conn.execute(text("SELECT sha256 FROM prompt ORDER BY position")).scalars()
        return [generate.seed(sha256) for sha256 in hashes]


def _through_the_queue(worker: Worker, teacher: Teacher, count: int, number: int) -> float:
    # Another version of the teacher each time, or the answers of the round before would be reused.
    first = teacher.model_dump(mode="json") | {"params_b": number + 1}
    given = {
        "name": f"round{number}", "prompts": "prompts", "student": {"name": "s", "model": "m"},
        "teachers": [first, first | {"name": "never-asked"}], "calibration": {"size": count},
    }  # fmt: skip
    with worker.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(given, source="the benchmark"))
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(worker.engine, run_id)
    routed_run.vacuum(worker.engine)
    before = _stored_tokens(worker)
    began = time.perf_counter()
    drain_teacher(worker, wake_ups.teacher_queue(teacher.name))
    took = time.perf_counter() - began
    return (_stored_tokens(worker) - before) / took


def _stored_tokens(worker: Worker) -> int:
    with worker.engine.connect() as conn:
        found = conn.exec_driver_sql("SELECT coalesce(sum(completion_tokens), 0) FROM generation").scalar_one()
    return int(found)


if __name__ == "__main__":  # vLLM spawns
    main()
