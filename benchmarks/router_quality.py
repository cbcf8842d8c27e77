"""Measures the product's own router on real models, beside everything else that could choose among them.

`--train FILE` holds lines `{"messages": [...], "quality": {teacher: score}}`, plain or gzipped; a score may also stand
beside its text, `"responses": {teacher: {"text": ..., "quality": score}}`. With `--test FILE` each
seed trains on all of it and is measured on those. Without, it is shuffled and cut into as many parts as there are
seeds; each part is held out once, and the last table covers all prompts. α is 0: the router learns from quality alone,
normalised within the prompt as in a run; the tables show it raw.
Every choice is made on the training prompts. A prompt that stands in the file twice counts once.
"""

import argparse
import gzip
import hashlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from persyn.config import Preferences, Router
from persyn.errors import PersynError
from persyn.inference import models
from persyn.inference.loading import choose_device
from persyn.rewards.combine import normalise
from persyn.router import evaluation, train
from persyn.router.dataset import tokenise
from persyn.router.model import RouterModel, load_backbone
from persyn.router.surface_features import surface

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

BACKBONES: dict[str, dict[str, Any]] = {
    "minilm-frozen": {},
    "minilm-tuned": {
        "freeze_backbone": False,
        "learning_rate": 5e-5,
        "epochs": 3,
        "patience": 1,
        "max_length": 128,
        "dtype": "bfloat16",
    },
    "smollm2-frozen": {
        "backbone": "bundled:smollm2-135m-instruct",
        "max_length": 256,
        "pooling": "middle",
        "dtype": "bfloat16",
    },
}
METHODS = ("random", "static", "knn", "kernel_ridge", "mlp", "router", "oracle")


class Data(NamedTuple):
    messages: list[list[dict[str, str]]]
    rewards: Floats  # (P, M)


def read(path: Path) -> list[dict[str, Any]]:
    """The file's prompts that have a score, each once. Stops with one sentence at a line that is none."""
    kept: dict[str, dict[str, Any]] = {}
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                text = "".join(f"{part['role']}\0{part['content']}\0" for part in row["messages"])
                answers = row.pop("responses", {})
                scores = row["quality"] if "quality" in row else {name: one["quality"] for name, one in answers.items()}
                row["quality"] = {name: float(score) for name, score in scores.items() if score is not None}
                row["tokens"] = {name: len(one.get("text") or "") / 4 for name, one in answers.items()}
            except (ValueError, TypeError, KeyError, AttributeError) as exc:
                sys.exit(f"{path}, line {number}: not a prompt with messages and quality ({exc!r}).")
            if row["quality"]:
                kept.setdefault(text, row)
    return list(kept.values())


def data(rows: list[dict[str, Any]], teachers: list[str]) -> Data:
    rewards = np.array([[row["quality"].get(name, np.nan) for name in teachers] for row in rows], dtype=np.float64)
    rewards[~np.isfinite(rewards)] = np.nan
    return Data([row["messages"] for row in rows], rewards.reshape(len(rows), len(teachers)))


def embedded(messages: list[list[dict[str, str]]], config: Router, path: str, cache: Path | None) -> Floats:
    """(P, D), from the cache where these very prompts were embedded before."""
    key = hashlib.sha256(
        json.dumps([messages, config.backbone, config.pooling, config.max_length, config.backbone_dtype]).encode()
    ).hexdigest()
    kept = None if cache is None else cache / f"{key[:32]}.npy"
    if kept is not None and kept.exists():
        return np.asarray(np.load(kept), dtype=np.float64)
    backbone = load_backbone(path, dtype=config.backbone_dtype)
    model = RouterModel(backbone.network, pooling=config.pooling, n_teachers=2, frozen=True).to(choose_device("auto"))
    vectors = train.embed(model, tokenise(backbone, messages, config.max_length), 32)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors.astype(np.float32))
    return vectors


def settings(name: str, given: dict[str, Any]) -> Router:
    """The router's configuration: a backbone of the table, or any other model's folder or hub name, frozen."""
    return Router.model_validate({**BACKBONES.get(name, {"backbone": name, "max_length": 256}), **given})


def measure(
    name: str, config: Router, learn: Data, test: Data | None, args: argparse.Namespace, teachers: list[str]
) -> dict[str, Any]:
    """One backbone: a table per seed, and without test prompts one of all parts together."""
    path = models.model_path(config.backbone, config.revision, args.home)
    everything = Data(learn.messages + (test.messages if test else []), learn.rewards)
    started = time.perf_counter()
    # A trained backbone's start, for the baselines.
    still = config if config.freeze_backbone else config.model_copy(update={"freeze_backbone": True, "dtype": "auto"})
    vectors = embedded(everything.messages, still, path, args.cache)
    embedding = time.perf_counter() - started
    rewards = np.concatenate([learn.rewards, test.rewards]) if test else learn.rewards
    # What the router is given beside the backbone's vectors; the baselines have those alone.
    beside = surface(everything.messages) if config.sees_surface else np.empty((len(vectors), 0))
    seen = np.hstack([vectors, beside])
    taught = normalise(rewards, "minmax")
    tables, seconds, chosen, held_out = [], [], [], []
    parts = itertools.islice(splits(len(learn.rewards), len(rewards), args.seeds), args.parts)
    for seed, (own, val) in enumerate(parts):
        started = time.perf_counter()
        trained = train.train(
            everything.messages, taught, own, val, config, seed, path, preferences=Preferences(),
            vectors=seen if config.freeze_backbone else None,
        )  # fmt: skip
        seconds.append(time.perf_counter() - started)
        if trained.model is not None:
            rows = tokenise(load_backbone(path), everything.messages, config.max_length)
            seen = train.embed(trained.model, rows, 32)
        choices = evaluation.baselines(vectors[own], taught[own], vectors[val], rewards[val], seed=seed)
        choices["router"] = trained.head.coefficients(seen[val])
        held_out.append((choices, rewards[val]))
        tables.append(evaluation.table(choices, rewards[val], teachers, seed=seed))
        chosen.append({key: trained.metrics.get(key) for key in ("shrinkage", "best_epoch")})
        show(f"{name}, seed {seed}: trained in {seconds[-1]:.1f} s", tables[-1])
    report: dict[str, Any] = {
        "tables": tables,
        "training_seconds": seconds,
        "embedding_seconds": embedding,
        "chosen": chosen,
    }
    if test is None and len(tables) == args.seeds > 1:
        all_of = {method: np.concatenate([choices[method] for choices, _ in held_out]) for method in METHODS}
        report["together"] = evaluation.table(all_of, np.concatenate([part for _, part in held_out]), teachers)
        show(f"{name}, every prompt held out once: trained in {statistics.median(seconds):.1f} s", report["together"])
    return report


def splits(train: int, everything: int, seeds: int) -> Iterator[tuple[Indices, Indices]]:
    """(training, held-out) rows for each seed; the rows from `train` on are the test file's."""
    order = np.random.default_rng(0).permutation(train)
    for part in np.array_split(order, max(seeds, 2))[:seeds]:
        if everything > train:
            yield order, np.arange(train, everything)
        else:
            yield np.setdiff1d(order, part), part


def show(title: str, table: dict[str, Any]) -> None:
    print(f"\n{title}")
    print(f"{'':14}{'reward':>8}{'of gap':>8}{'hit@1':>8}{'hit@3':>8}{'pairs':>8}   router minus it, 95%")
    for method in METHODS:
        row = table["methods"][method]
        numbers = [row["mean_reward"][0], row["gap_recovered"][0] if row["gap_recovered"] else float("nan")]
        numbers += [row[key] for key in ("hit_at_1", "hit_at_3", "pairwise_accuracy")]
        difference = table["differences"].get(f"router_minus_{method}")
        text = "" if difference is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*difference)
        print(f"{method:14}" + "".join(f"{number:8.3f}" for number in numbers) + f"   {text}", flush=True)
    if not table["beats_static"]:
        print(table["advice"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", type=int, help="measure no more than so many of the seeds")
    parser.add_argument(
        "--backbones",
        default="minilm-frozen",
        help=f"comma-separated: {', '.join(BACKBONES)}, or a model's folder or hub name, which is then used frozen",
    )
    parser.add_argument(
        "--router",
        type=json.loads,
        default={},
        metavar="JSON",
        help="what a run's file says under `router`, over the backbone's own: '{\"pooling\": \"middle\"}'",
    )
    parser.add_argument("--home", type=Path, default=Path(".persyn"), help="where converted models are kept")
    parser.add_argument("--cache", type=Path, help="a folder that keeps embeddings between calls")
    args = parser.parse_args()
    rows, tests = read(args.train), read(args.test) if args.test else []
    teachers = sorted({name for row in rows for name in row["quality"]})
    if len(teachers) < 2 or len(rows) < 20:
        parser.error(f"{args.train}: {len(rows)} prompts and {len(teachers)} teachers; at least 20 and 2 are needed")
    learn, test = data(rows, teachers), data(tests, teachers) if tests else None
    report = {"teachers": teachers, "prompts": len(rows), "test_prompts": len(tests)}
    try:
        configs = {name: settings(name, args.router) for name in args.backbones.split(",")}
    except (ValidationError, TypeError) as exc:  # another key or value, or no object at all
        parser.error(f"--router: {exc}")
    try:
        report["backbones"] = {
            name: measure(name, config, learn, test, args, teachers) for name, config in configs.items()
        }
    except PersynError as exc:
        sys.exit(str(exc))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
