"""Whether the models of a run could be loaded: the student, the scorers, the router's backbone, teachers served here.

Judged by their files, and by the packages of this host where a worker shall run on it; no weights are loaded.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from persyn.config import RewardModel, RunConfig, Scas
from persyn.config.examination import STUDENT
from persyn.errors import ConfigError, MissingExtra, ModelError, PersynError, ServiceError
from persyn.inference import model_files
from persyn.inference.servers import kinds
from persyn.preflight.report import Finding, WorkerNeed

_IMPORT_TIMEOUT_S = 180.0
_AT_ONCE = 8


class _Model(NamedTuple):
    about: str  # the key path of its name
    ref: str
    revision: str | None
    worker: str


def needs(config: RunConfig) -> list[WorkerNeed]:
    """The models that each kind of worker loads."""
    return [WorkerNeed(model.worker, f"the model {model.ref}") for model in dict.fromkeys(_models(config))]


def check(config: RunConfig, *, with_worker: bool, elsewhere: bool) -> list[Finding]:
    """The models that cannot be had here.

    `with_worker`: a worker for everything shall run on this host. `elsewhere`: workers on other hosts run already,
    whose folders and packages this host does not know.
    """
    found = list(_files(config, strict=with_worker or not elsewhere, with_worker=with_worker))
    found += _without_parser(config)
    if not found:
        found += _measurable(config)
    return found + (_packages(config) if with_worker else [])


def _models(config: RunConfig) -> Iterator[_Model]:
    student = config.student
    if config.measures():
        yield _Model("student.model", student.model, student.revision, "--scorers")
    for scorer in config.scorers.quality:
        if isinstance(scorer, RewardModel):  # behind an endpoint its tokenizer is needed all the same
            yield _Model("scorers.quality", scorer.model, scorer.revision, "--scorers")
    if config.needs_router:
        yield _Model("router.backbone", config.router.backbone, config.router.revision, "--router")
    for number, teacher in enumerate(config.teachers):
        if teacher.endpoint is None and teacher.model is not None and teacher.server.kind != "stub":
            yield _Model(f"teachers[{number}].model", teacher.model, teacher.revision, f"--teachers {teacher.name}")


def _files(config: RunConfig, *, strict: bool, with_worker: bool) -> Iterator[Finding]:
    first: dict[tuple[str, str | None], _Model] = {}
    for model in _models(config):
        if model.ref.startswith(STUDENT) and model.about != "router.backbone":  # the worker that needs it fetches it
            continue
        first.setdefault((model.ref, model.revision), model)
    models = list(first.values())
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a hub that is out of reach lets each wait for its time limit
        for model, lack in zip(models, pool.map(_lack, models), strict=True):
            match lack:
                case ConfigError():
                    yield Finding(True, model.about, str(lack))
                case ModelError():
                    yield Finding(strict, model.about, str(lack))
                case MissingExtra() | ServiceError():  # another host may have the package or reach the hub
                    yield Finding(with_worker, model.about, str(lack))


def _measurable(config: RunConfig) -> Iterator[Finding]:
    """A measure that this student lacks the layer for."""
    for number, measure in enumerate(config.measures()):
        if (
            isinstance(measure, Scas)
            and not config.student.model.startswith(STUDENT)
            and model_files.has_up_projection(config.student.model, config.student.revision) is False
        ):
            told = (
                f"scas compares the activations of mlp.up_proj, a layer that {config.student.model} does not have."
                " Use another measure for this student."
            )
            yield Finding(measure.weight > 0, f"scorers.learnability[{number}]", told)


def _lack(model: _Model) -> PersynError | None:
    try:
        model_files.require(model.ref, model.revision)
    except PersynError as exc:
        return exc
    return None


def _without_parser(config: RunConfig) -> Iterator[Finding]:
    """Teachers that a worker serves with vLLM, which refuses tools unless it is told how the model writes a call."""
    for number, teacher in enumerate(config.teachers):
        is_vllm = teacher.model is not None and teacher.endpoint is None and teacher.server.kind in ("auto", "vllm")
        if is_vllm and teacher.tools and not any("--tool-call-parser" in arg for arg in teacher.server.args):
            told = (
                "vLLM takes tools only where it is told how the model writes a call. Write"
                " args: [--enable-auto-tool-choice, --tool-call-parser, PARSER], such as hermes for Qwen."
            )
            yield Finding(teacher.server.kind == "vllm", f"teachers[{number}].server.args", told)


def _packages(config: RunConfig) -> list[Finding]:
    found = []
    for number, teacher in enumerate(config.teachers):
        if teacher.endpoint is None and teacher.model is not None:
            try:
                kinds.resolve(teacher.server.kind)
            except MissingExtra as exc:
                found.append(Finding(True, f"teachers[{number}].server", str(exc)))
    if not any(model.worker in ("--scorers", "--router") for model in _models(config)):
        return found
    # In a process of its own: torch takes seconds and memory that this command does not need.
    program = "import torch, transformers; transformers.AutoModelForCausalLM, transformers.AutoTokenizer"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=_IMPORT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return found
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        told = f"this host cannot score answers or train a router: {last}. Install them: pip install 'persyn[train]'."
        found.append(Finding(True, "student.model", told))
    return found
