"""Reads a run's YAML and reports each mistake in it in one sentence."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from persyn.config import mistakes, syntax
from persyn.config.endpoints import FROM_FILE
from persyn.config.run import RunConfig
from persyn.config.secrecy import looks_secret
from persyn.errors import ConfigError

LONGEST_NUMBER, LARGEST_BITS = 400, 1024  # in characters; as an integer
TOO_LARGE = "the number is larger than any that a key takes. Write a smaller one."


class _Loader(yaml.SafeLoader):
    """A loader that refuses a key given twice, of which YAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                name = "" if looks_secret(key.value) else f"{key.value!r} "
                problem = f"key {name}is given twice; the first stands in line {seen[key.value]}. Remove one."
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError) as exc:  # no such date, a number of five thousand digits
            kind = {"timestamp": "a date", "int": "a number", "float": "a number"}.get(
                node.tag.rpartition(":")[2], "one"
            )
            problem = f"the value looks like {kind} and is none. Correct it, or put it in quotes."
            too_long = kind == "a number" and isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER
            raise yaml.constructor.ConstructorError(
                problem=TOO_LARGE if too_long else problem, problem_mark=node.start_mark
            ) from exc
        if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
            raise yaml.constructor.ConstructorError(problem=TOO_LARGE, problem_mark=node.start_mark)
        return value


def load_run(path: Path) -> RunConfig:
    """Read a run's YAML.

    Raises ConfigError, naming for each mistake the line, the key path, the value and what to type.
    """
    text = _read(path)
    try:
        loader = _Loader(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: {syntax.in_words(exc, text)}") from None
    try:
        root = loader.get_single_node()
        raw = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: {syntax.in_words(exc, text)}") from None
    except RecursionError:
        place = f"line {loader.line + 1}, column {loader.column + 1}"
        raise ConfigError(
            f"{path}: {place}: brackets or sections are nested too deeply here. Close them earlier."
        ) from None
    return _validated(raw, str(path), root)


def parse_run(raw: Any, *, source: str) -> RunConfig:
    """A run from the values that its YAML holds. Raises ConfigError as `load_run` does, without lines."""
    return _validated(raw, source, None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `persyn init {path}` writes one to start from.") from None
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: a character is not UTF-8. Save the file as UTF-8.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}. Give a file that you can read.") from exc


def _validated(raw: Any, source: str, root: yaml.Node | None) -> RunConfig:
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a mapping of keys such as name, prompts and teachers.")
    try:
        return RunConfig.model_validate(raw, context=FROM_FILE)
    except ValidationError as exc:
        # Not from the error itself: it quotes every value, and one may be a secret.
        told = mistakes.sentences(exc.errors(), raw, root)
    raise ConfigError("\n".join(f"{source}: {sentence}" for sentence in told))
