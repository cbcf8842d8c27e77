"""Learnability in tokens per second, against a bare batched forward pass over the same tokens and against one by one.

The bare pass is what the machine gives to whoever reads every prompt with every answer: the model over padded batches
of the same token budget, without any logits. PerSyn reads a prompt once for all its answers so it may be faster;
`apart` says how it fares where no two answers share a prompt. `one by one` is the loop that one would write first: one
answer a call, all logits, a softmax over the vocabulary. `ifd` reads each answer a second time, without its prompt; its
bare pass does so too. `local_naturalness` reads steps again in their windows. `read` is the number of tokens that went
through the model, padding included.

    python -m benchmarks.scoring --prompts 12 --repeat 5

On a busy machine `OMP_NUM_THREADS=1` and `--cpu-time` say more: seconds that the process computed, not those it waited.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from persyn.chat import Encoded, answer_alone, with_answer
from persyn.config import Ifd, Lark, LearnabilityScorer, LocalNaturalness, LogLik, RankSurprisal, Scas
from persyn.inference import models
from persyn.rewards.learnability.scorer import Learnability

MAX_LENGTH = 1024
Item = tuple[list[dict[str, str]], str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring")
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--data", type=Path, help="parallel answers, as `persyn generations import` reads them")
    parser.add_argument("--prompts", type=int, default=12, help="of which every answer is scored")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--answer-tokens", type=int, help="the first tokens of each answer only")
    parser.add_argument("--only", default="", metavar="WAY,WAY", help="these ways alone, and their yardsticks")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of computing, not of the clock")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home = Path(os.environ.get("PERSYN_HOME", ".persyn")).resolve()
    scorer = Learnability(models.model_path(options.model, None, home), max_length=MAX_LENGTH)
    items = _items(options.data, options.prompts)
    apart = [item for number, item in enumerate(items) if item[0] not in [other[0] for other in items[:number]]]
    only = [name.strip() for name in options.only.split(",") if name.strip()]
    clock = time.process_time if options.cpu_time else time.perf_counter
    report = _report(scorer, items, apart, options.repeat, options.answer_tokens, only, clock)
    print(json.dumps(report, indent=2) if options.json else _table(report))


def _items(data: Path | None, prompts: int) -> list[Item]:
    """(messages, answer) pairs: of a file, or made up in the lengths of word problems."""
    if data is None:
        return [
            ([{"role": "user", "content": f"A shop has {n} lamps and sells half. " * 4}], "It sells half of them. " * m)
            for n in range(prompts)
            for m in (2, 4, 6, 8, 10, 12)
        ]
    with gzip.open(data, "rt", encoding="utf-8") if data.suffix == ".gz" else data.open(encoding="utf-8") as lines:
        records = [json.loads(line) for _, line in zip(range(prompts), lines, strict=False)]
    return [
        (record.get("messages") or [{"role": "user", "content": record["prompt"]}], response["text"])
        for record in records
        for response in record["responses"].values()
        if response["text"].strip()
    ]


def _report(
    scorer: Learnability, items: Sequence[Item], apart: Sequence[Item], repeat: int, answer_tokens: int | None,
    only: Sequence[str], clock: Callable[[], float],
) -> dict[str, Any]:  # fmt: skip
    measures: list[LearnabilityScorer] = [
        LogLik(answer_tokens=answer_tokens),
        RankSurprisal(kind="rank_surprisal", answer_tokens=answer_tokens),
        Ifd(kind="ifd", answer_tokens=answer_tokens),
        Scas(kind="scas", answer_tokens=answer_tokens),
        Lark(kind="lark", answer_tokens=answer_tokens),
        LocalNaturalness(kind="local_naturalness", answer_tokens=answer_tokens),
    ]
    limits = {"max_length": MAX_LENGTH, "answer_tokens": answer_tokens}
    whole = [with_answer(scorer.student.tokenizer, *item, **limits) for item in items]
    single = [with_answer(scorer.student.tokenizer, *item, **limits) for item in apart]
    alone = [answer_alone(scorer.student.tokenizer, item)[0] for item in whole]
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "bare forward": (lambda: _bare(scorer, [item.ids for item in whole]), _tokens(whole)),
        "bare forward twice": (
            lambda: (_bare(scorer, [item.ids for item in whole]), _bare(scorer, alone)),
            _tokens(whole),
        ),
        "loglik": (lambda: scorer.score(items, measures[:1]), _tokens(whole)),
        "bare forward apart": (lambda: _bare(scorer, [item.ids for item in single]), _tokens(single)),
        "loglik apart": (lambda: scorer.score(apart, measures[:1]), _tokens(single)),
        "one by one apart": (lambda: _one_by_one(scorer, single), _tokens(single)),
        "loglik + rank_surprisal": (lambda: scorer.score(items, measures[:2]), _tokens(whole)),
        "loglik + ifd": (lambda: scorer.score(items, [measures[0], measures[2]]), _tokens(whole)),
        "loglik + scas": (lambda: scorer.score(items, [measures[0], measures[3]]), _tokens(whole)),
        "loglik + lark": (lambda: scorer.score(items, [measures[0], measures[4]]), _tokens(whole)),
        "loglik + local_naturalness": (lambda: scorer.score(items, [measures[0], measures[5]]), _tokens(whole)),
        "all four": (lambda: scorer.score(items, measures[:4]), _tokens(whole)),
        "all six": (lambda: scorer.score(items, measures), _tokens(whole)),
    }
    wanted = {*only, *map(_base, only)} or ways.keys()
    ways = {name: way for name, way in ways.items() if name in wanted}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    read: dict[str, int] = {}
    for _ in range(repeat):  # side by side in each round, so that a busy minute hurts all alike
        for name, (run, _tokens_read) in ways.items():
            with _counted(scorer) as passes:
                began = clock()
                run()
                seconds[name].append(clock() - began)
            read[name] = sum(passes)
    speed = {name: ways[name][1] / statistics.median(times) for name, times in seconds.items()}
    ratio = lambda name, base: statistics.median(  # noqa: E731
        (ways[name][1] / mine) / (ways[base][1] / theirs)
        for mine, theirs in zip(seconds[name], seconds[base], strict=True)
    )
    return {
        "answers": len(items), "prompts": len(apart), "tokens": _tokens(whole), "tokens_apart": _tokens(single),
        "threads": torch.get_num_threads(), "repeat": repeat,
        "read": read,
        "tokens_per_s": {name: round(value, 1) for name, value in speed.items()},
        "of_bare_forward": {
            name: round(ratio(name, _base(name)), 3) for name in ways
        },
    }  # fmt: skip


def _base(way: str) -> str:
    if way.endswith("apart"):
        return "bare forward apart"
    return "bare forward twice" if way.endswith(("twice", "ifd", "all four", "all six")) else "bare forward"


def _tokens(encoded: Sequence[Encoded]) -> int:
    return sum(len(item.ids) for item in encoded)


@contextmanager
def _counted(scorer: Learnability) -> Iterator[list[int]]:
    """The sizes of the batches that the model reads while the block runs, in tokens."""
    passes: list[int] = []
    hook = scorer.student.model.base_model.register_forward_pre_hook(
        lambda _module, _args, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        yield passes
    finally:
        hook.remove()


def _bare(scorer: Learnability, rows: Sequence[list[int]]) -> None:
    """The base model over padded batches of the scorer's own budget, the longest first."""
    order = sorted(rows, key=len, reverse=True)
    start = 0
    while start < len(order):
        longest = len(order[start])
        batch = order[start : start + max(1, scorer.tokens_per_batch // longest)]
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        attention = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        with torch.inference_mode():
            device = scorer.student.device
            scorer.student.model.base_model(
                input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False
            )
        start += len(batch)


def _one_by_one(scorer: Learnability, encoded: Sequence[Encoded]) -> None:
    for item in encoded:
        ids = torch.tensor([item.ids], device=scorer.student.device)
        with torch.inference_mode():
            logprobs = scorer.student.model(ids).logits[0].float().log_softmax(dim=-1)
        sum(float(logprobs[t - 1, item.ids[t]]) for t in range(1, len(item.ids)) if item.mask[t])


def _table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['answers']} answers to {report['prompts']} prompts, {report['tokens']} tokens with each prompt read"
        f" with each answer; {report['threads']} threads; medians of {report['repeat']}",
        f"{'':<28}{'read':>9}{'tokens/s':>10}{'of bare forward':>18}",
    ]
    for name, speed in report["tokens_per_s"].items():
        told = f"{report['read'][name]:>9}{speed:>10.1f}{report['of_bare_forward'][name]:>18.3f}"
        lines.append(f"{name:<28}{told}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
