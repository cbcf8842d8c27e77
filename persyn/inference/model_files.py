"""Tells by its files whether a model could be loaded: config, tokenizer and weights. Nothing is loaded for it.

A folder is listed; of a name on the hub the cache is asked first, then the hub's list of files.
"""

import importlib.util
import json
from pathlib import Path

from persyn.errors import ModelError, PersynError, ServiceError
from persyn.inference import models

HUB_TIMEOUT_S = 10.0
_HEADER_BYTES = 100_000_000  # the format's own limit
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
_TOKENIZERS = {"tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tekken.json"}


def require(ref: str, revision: str | None) -> None:
    """Raises what `models.model_path` raises, ModelError where files are missing, ServiceError without the hub."""
    folder = models.located(ref, revision)
    if folder is not None and folder.suffix == ".gguf" and not folder.is_dir():
        return  # one file that holds all three
    names = _on_the_hub(ref, revision) if folder is None else _in(folder)
    if "adapter_config.json" in names and "config.json" not in names:
        raise ModelError(f"{ref}: this is an adapter without its model. Merge it into the model, and give that folder.")
    parts = {
        "config.json": "config.json" in names,
        "a tokenizer": bool(names & _TOKENIZERS) or any(name.endswith(".model") for name in names),
        "weights": any(name.endswith(_WEIGHTS) for name in names),
    }
    missing = [part for part, there in parts.items() if not there]
    if missing:
        raise ModelError(f"{ref}: it lacks {' and '.join(missing)}. Give a folder or a hub name with a whole model.")


def has_up_projection(ref: str, revision: str | None) -> bool | None:
    """Whether the weights have a layer mlp.up_proj, as their files name them; None where these do not tell it here."""
    folder = models.located(ref, revision) or _cached(ref, revision)
    if folder is None or not folder.is_dir():
        return None
    try:
        names = [name for file in folder.glob("*.safetensors") for name in _tensors(file)]
    except (OSError, ValueError):
        return None
    return any(".mlp.up_proj." in name for name in names) if names else None


def _tensors(file: Path) -> list[str]:
    """The names in the header of a safetensors file: its length in 8 bytes, then JSON. Raises ValueError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"{file}: no safetensors")
        return list(json.loads(opened.read(length)))


def chat_template(ref: str, revision: str | None) -> str | None:
    """The chat template of a model that lies on this host, as it is written; None where it is not known."""
    try:
        folder = models.located(ref, revision) or _cached(ref, revision)
    except PersynError:
        return None  # `require` tells of it
    if folder is None or not folder.is_dir():
        return None
    texts = [_text(folder / "chat_template.jinja"), _text(folder / "tokenizer_config.json")]
    if texts[0] is None and '"chat_template"' not in (texts[1] or ""):
        return None
    return "\n".join(text for text in texts if text)


def _cached(ref: str, revision: str | None) -> Path | None:
    """The folder of a hub's model in this host's cache."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import errors, try_to_load_from_cache  # an extra, and slow

    try:
        cached = try_to_load_from_cache(ref, "config.json", revision=revision)
    except errors.HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _in(folder: Path) -> set[str]:
    config = folder / "config.json"
    if config.is_file():
        try:
            json.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise ModelError(f"{config}: it cannot be read as JSON: {exc}.") from exc
    return {path.name for path in folder.iterdir()}


def _on_the_hub(ref: str, revision: str | None) -> set[str]:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ServiceError(f"{ref}: this host cannot ask the hub, because huggingface_hub is not installed.")
    from huggingface_hub import HfApi, errors  # an extra, and slow

    cached = _cached(ref, revision)
    if cached is not None:
        return {path.name for path in cached.iterdir()}
    try:
        files = HfApi().model_info(ref, revision=revision, timeout=HUB_TIMEOUT_S).siblings or []
    except errors.RevisionNotFoundError as exc:
        raise ModelError(f"{ref}: the hub has no revision {revision!r} of it.") from exc
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as exc:
        raise ModelError(
            f"{ref}: there is no such folder, and the hub has no model of this name, or it is private."
            " Correct the name, or set HF_TOKEN."
        ) from exc
    except Exception as exc:  # whatever its HTTP library raises, which changes with its version
        raise ServiceError(f"{ref}: it is not in this host's cache, and the hub cannot be asked: {exc}.") from exc
    return {file.rfilename.rpartition("/")[2] for file in files}
