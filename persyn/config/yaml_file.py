"""Reads a run's YAML and reports each mistake in it in one sentence."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from persyn.config.endpoints import FROM_FILE
from persyn.config.run import RunConfig
from persyn.errors import ConfigError


class _UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key given twice, where YAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if any(key.value == earlier.value for earlier in keys[:position]):
                message = f"key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(problem=message, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def load_run(path: Path) -> RunConfig:
    """Read a run's YAML.

    Raises ConfigError, naming for each mistake the key path, the value and what was expected.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `persyn init {path}` writes one to start from.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}.") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    return parse_run(raw, source=str(path))


def parse_run(raw: Any, *, source: str) -> RunConfig:
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a mapping of keys such as name, prompts and teachers.")
    try:
        return RunConfig.model_validate(raw, context=FROM_FILE)
    except ValidationError as exc:
        raise ConfigError("\n".join(f"{source}: {_mistake(error)}" for error in exc.errors())) from exc


def _mistake(error: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "missing":
        return f"{where}: missing. Add this key."
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key. Remove it or correct its spelling."
    if error["type"] == "value_error":
        return f"{where}: {message}." if where else f"{message}."
    return f"{where}: got {_shorten(error['input'])}; {message[0].lower()}{message[1:]}."


def _shorten(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
