"""Says in one sentence each what is wrong with a run's values: the place, the key, the value, and what to type.

A value that may be a secret is never shown, nor a whole section, which may hold one.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from persyn.config.run import RunConfig
from persyn.config.secrecy import SECRET_KEY, looks_secret
from persyn.config.strict import NAME

Path = tuple[str | int, ...]
_SHOWN = 60
DEEPEST_SHOWN = 6  # parts of the path to what is nested without an end
# A validator of a section may name the key that it is about.
_OF_A_KEY = re.compile(r"Value error, ([a-z_]+(?:\.[a-z_]+)*): ")


class _Mistake(NamedTuple):
    """An error of Pydantic's with its key path in the file, where tags of unions are no keys."""

    error: ErrorDetails
    path: Path
    node: yaml.Node | None  # the nearest that the file has
    mark: yaml.Mark | None

    @property
    def kind(self) -> str:
        return self.error["type"]

    @property
    def key(self) -> str:
        return str(self.path[-1]) if self.path else ""


def sentences(errors: Sequence[ErrorDetails], raw: Any, root: yaml.Node | None) -> list[str]:
    """A line for each mistake, in the order of the file where its nodes are known."""
    found = [_located(error, raw, root) for error in errors]
    misspelt = {(*one.path[:-1], _meant(one)) for one in found if one.kind == "extra_forbidden"}
    found = [one for one in found if one.kind != "missing" or one.path not in misspelt]
    # Where a section or a word such as `off` may stand, what is neither has an error of both.
    sections = [one.path for one in found if not _is_word_of_a_union(one.error)]
    found = [
        one
        for one in found
        if not (_is_word_of_a_union(one.error) and any(path[: len(one.path)] == one.path for path in sections))
    ]
    if root is not None:
        found.sort(key=lambda one: (one.mark.line, one.mark.column) if one.mark else (-1, -1))
    return [_sentence(one) for one in found]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    words = {re.sub("[^a-z0-9]", "", other.lower()): other for other in known}
    near = difflib.get_close_matches(re.sub("[^a-z0-9]", "", word.lower()), list(words), 1, 0.6)
    return words[near[0]] if near else None


def _is_word_of_a_union(error: ErrorDetails) -> bool:
    return bool(error["loc"]) and str(error["loc"][-1]).startswith("literal[")


def _located(error: ErrorDetails, raw: Any, root: yaml.Node | None) -> _Mistake:
    path = _in_file(error["loc"], raw)
    if error["type"] == "recursion_depth_exceeded":
        path = path[:DEEPEST_SHOWN]
    if error["type"].startswith("union_tag"):
        path = (*path, "kind")
    if error["type"] == "value_error" and (named := _OF_A_KEY.match(error["msg"])) is not None:
        path = (*path, *named[1].split("."))
    node, key = _find(root, path)
    at = key if error["type"] == "extra_forbidden" and key is not None else node
    return _Mistake(error, path, node, at.start_mark if at is not None and path else None)


def _in_file(loc: Path, raw: Any) -> Path:
    """The location without what stands in no file: a union's tag, the place in a list that was given as one mapping."""
    path: list[str | int] = []
    here = raw
    for part in loc:
        if isinstance(here, dict) and (isinstance(part, int) or part not in here):
            if isinstance(part, int) or part == here.get("kind") or _is_tag(part):
                continue
        elif isinstance(part, str) and _is_tag(part):
            continue
        path.append(part)
        known = isinstance(here, dict) or (isinstance(here, list) and isinstance(part, int) and part < len(here))
        here = (here.get(part) if isinstance(here, dict) else here[part]) if known else None
    return tuple(path)


def _is_tag(part: str) -> bool:
    """Whether a part of a location names a type of a union: keys begin with a small letter."""
    return part == "[key]" or part.startswith("literal[") or part[:1].isupper()


def _find(root: yaml.Node | None, path: Path) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The deepest node along the path, and the key before it where the path's end was found."""
    here, key = root, None
    for part in path:
        key = None
        if isinstance(here, yaml.MappingNode):
            pair = next((pair for pair in here.value if pair[0].value == str(part)), None)
            if pair is None:
                break
            key, here = pair
        elif isinstance(here, yaml.SequenceNode) and isinstance(part, int) and part < len(here.value):
            here = here.value[part]
        else:
            break
    return here, key


def _sentence(one: _Mistake) -> str:
    place = f"line {one.mark.line + 1}, column {one.mark.column + 1}: " if one.mark is not None else ""
    where = _written(one)
    return f"{place}{where}{': ' if where else ''}{_told(one)}"


def _written(one: _Mistake) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in one.path]
    if parts and looks_secret(one.key):
        parts[-1] = ".(a key that is not shown)"
    return "".join(parts).lstrip(".")


def _told(one: _Mistake) -> str:
    error, value = one.error, one.error["input"]
    message = _OF_A_KEY.sub("", error["msg"]).removeprefix("Value error, ")
    match one.kind:
        case "missing":
            return "missing. Add this key."
        case "extra_forbidden":
            return _unknown_key(one)
        case "value_error":
            return f"{message}."
        case "recursion_depth_exceeded":
            return "nested too deeply. Close its brackets or sections earlier."
        case "literal_error" if isinstance(value, str):
            known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            return f"got {_shown(one)}; {_choose(value, known)}"
        case "union_tag_invalid" | "union_tag_not_found":
            return _unknown_kind(one)
        case "string_pattern_mismatch":
            return _pattern(one)
        case "model_type" | "model_attributes_type" | "dict_type":
            keys = [name for model in _sections((*one.path, "")) for name in model.model_fields]
            return f"got {_shown(one)}; expected a section of keys{_such_as(keys)}."
        case "invalid_key":
            return (
                f"got {_shown(one)} in place of a key. Inside braces a comma ends an entry: write a number without one."
            )
        case "too_short":
            return f"got {_shown(one)}; at least {error['ctx']['min_length']} must be given."
        case "list_type":
            return f"got {_shown(one)}; expected a list, each entry on a line of its own behind a dash."
    return f"got {_shown(one)}; {message[0].lower()}{message[1:]}.{_remedy(one)}"


def _such_as(names: Sequence[str]) -> str:
    return f", such as {', '.join(names[:3])}" if names else ""


def _choose(given: str, known: Sequence[str]) -> str:
    meant = closest(given, known)
    guess = f"did you mean {meant}? Otherwise " if meant else ""
    return f"{guess}choose one of {', '.join(known)}."


def _unknown_kind(one: _Mistake) -> str:
    models = [model for model in _sections(one.path) if "kind" in model.model_fields]
    known = [str(kind) for model in models for kind in get_args(model.model_fields["kind"].annotation)]
    given = one.error["input"].get("kind") if isinstance(one.error["input"], dict) else None
    if given is None:
        return f"missing. Add this key: one of {', '.join(known)}."
    shown = _shorten(repr(given)) if isinstance(given, str) and not looks_secret(given) else "a value"
    return f"got {shown}; {_choose(str(given), known)}"


def _pattern(one: _Mistake) -> str:
    value = str(one.error["input"])
    if one.key == "api_key_env":
        return (
            "expected the name of an environment variable, which has letters, digits and _ alone, such as MY_API_KEY."
            " The key itself belongs into that variable. The value is not shown, because it may be a key."
        )
    if one.key == "url":
        example = "" if looks_secret(value) or "://" in value or "$" in value else f", as in http://{value}"
        return f"got {_shown(one)}; http:// or https:// is missing. Put it before the address{example}."
    if one.error["ctx"]["pattern"] == NAME:
        better = re.sub(r"[^A-Za-z0-9._-]+", "-", value).strip("-._")[:63]
        example = f", such as {better}" if better and not looks_secret(value) else ""
        return (
            f"got {_shown(one)}; a name has 1 to 63 letters, digits and . _ - and begins with a letter or a digit."
            f" Choose another{example}."
        )
    return f"got {_shown(one)}; it holds a character that cannot stand here."


def _remedy(one: _Mistake) -> str:
    value = one.error["input"]
    if one.kind == "string_type" and isinstance(value, bool | int | float | date):
        return " Put it in quotes."
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?\s*%", value):
        return f" Write {float(value.rstrip('% ')) / 100:g}."
    if isinstance(value, str) and re.fullmatch(r"\d+,\d+", value):
        return f" Write {value.replace(',', '.')}."
    return ""


def _unknown_key(one: _Mistake) -> str:
    known = list(dict.fromkeys(name for model in _sections(one.path) for name in model.model_fields))
    meant = _meant(one)
    if SECRET_KEY.search(one.key) and meant in (None, "api_key_env"):
        place = "api_key_env here" if "api_key_env" in known else "endpoint.api_key_env"
        return (
            "unknown key. No secret belongs into this file: put it into an environment variable, and give the"
            f" variable's name as {place}, such as api_key_env: MY_API_KEY."
        )
    head, colon, _ = one.key.partition(":")
    if colon and head in known:
        return f"unknown key. A space is missing behind the colon after {head}."
    if meant is not None:
        return f"unknown key; did you mean {meant}?"
    elsewhere = sorted(path for path, names in _all_sections() if one.key in names)
    if elsewhere:
        return f"unknown key here. It belongs to {' or '.join(elsewhere[:2])}."
    return f"unknown key. Remove it or correct its spelling: the keys here are {', '.join(known)}."


def _meant(one: _Mistake) -> str | None:
    return closest(one.key, [name for model in _sections(one.path) for name in model.model_fields])


def _sections(path: Path) -> list[type[BaseModel]]:
    """The models that may stand where the path's last key stands."""
    models: list[type[BaseModel]] = [RunConfig]
    for part in path[:-1]:
        if isinstance(part, str):
            fields = [model.model_fields[part] for model in models if part in model.model_fields]
            models = [found for field in fields for found in _models(field.annotation)] if fields else models
    return models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, inside lists, unions and mappings too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models(part)


def _all_sections(model: type[BaseModel] = RunConfig, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each section below the run with its keys: `teachers[].sampling` has temperature and others."""
    for name, field in model.model_fields.items():
        for section in _models(field.annotation):
            several = "[]" if "list" in str(field.annotation) else ""
            inner = f"{path}{name}{several}"
            yield inner, set(section.model_fields)
            yield from _all_sections(section, f"{inner}.")


def _shown(one: _Mistake) -> str:
    """The value as the file has it, unless it may be a secret or is a whole section."""
    value = one.error["input"]
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a section of keys"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = str(value) if isinstance(value, str) else repr(value)[: _SHOWN + 1]
    if looks_secret(text) or SECRET_KEY.search(one.key):
        return "a value that is not shown, because it may be a secret"
    if not isinstance(value, str) and isinstance(one.node, yaml.ScalarNode):
        text = one.node.value or text
        read_as = {bool: "true or false", date: "a date"}.get(type(value))
        return _shorten(text) + (f", which YAML reads as {read_as}" if read_as else "")
    return _shorten(repr(value) if isinstance(value, str) else text)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
