"""Where the fields of a file's records are read: by the shape that their keys have, and by what the user said.

Records with the same keys are read alike, so each set of keys gets one plan, which also counts for the report.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from persyn.errors import ConfigError
from persyn.imports.fields import Field, Refused, column, template
from persyn.imports.records import Unreadable
from persyn.imports.shapes import BATCH_REQUEST, EVERYWHERE, FIELDS, NAMES, PARTS, named, recognised, request_in

MAX_PLANS = 1000  # of a file that is no table, in which every record may have keys of its own
LIKELY = ("question", "query", "instruction", "problem", "task", "input", "inputs", "text", "content")


@dataclass(eq=False)
class Plan:
    """The places of the fields in records of one set of keys, and the number of the prompts that were read so."""

    shape: str  # empty where the keys are of no shape
    fields: Mapping[str, Field]
    used: frozenset[str]  # columns that are read, and so no meta
    parts: tuple[str, ...]  # columns that belong to a prompt by their name, and that nothing reads
    lacking: str | None  # the reason why these records hold no prompt
    prompts: int = 0
    answers: int = 0  # of the prompts, how many came with an answer of the source

    def read(self, name: str, values: Mapping[str, Any]) -> Any:
        """The value of a field, or None. Raises Refused."""
        field = self.fields.get(name)
        if field is None:
            return None
        value = field.read(values)
        if isinstance(value, Unreadable):
            raise Refused(f"{field.words} {value.problem}")
        return value


class Taken(NamedTuple):
    """A shape that an import took, for its report."""

    shape: str
    prompts: int
    answers: int
    fields: dict[str, str]  # field → where it was read


class Reading:
    """The user's choices, and a plan for each set of keys that the records have."""

    def __init__(
        self, shape: str | None = None, mapped: Mapping[str, Field] | None = None, ignored: Iterable[str] = ()
    ) -> None:
        self._shape, self._mapped, self._ignored = shape, dict(mapped or {}), frozenset(ignored)
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._reported: dict[str, Taken] = {}
        self.columns: dict[str, None] = {}  # all that were seen, in their order

    @classmethod
    def parse(cls, maps: Iterable[str] = (), shape: str | None = None, ignored: Iterable[str] = ()) -> "Reading":
        """From `field=column` and `field={column} …`, a shape's name, and columns to ignore. Raises ConfigError."""
        if shape is not None and shape not in NAMES:
            raise ConfigError(
                f"--as {shape}: there is no such shape. {_meant(shape, NAMES)}There are {', '.join(NAMES)}."
            )
        mapped: dict[str, Field] = {}
        for mapping in maps:
            field, _, source = mapping.partition("=")
            if field not in FIELDS or not source or field in mapped:
                expected = ", ".join(f"{name}=COLUMN" for name in FIELDS)
                raise ConfigError(
                    f"--map {mapping}: {_meant(field, FIELDS)}Expected one of {expected}, each at most once."
                )
            mapped[field] = template(source) if "{" in source else column(source)
        single = [field.columns[0] for field in mapped.values() if field.words == field.columns[0]]
        if len(set(single)) < len(single):
            raise ConfigError(f"--map: two fields would read the same column: {', '.join(single)}.")
        return cls(shape, mapped, ignored)

    def plan(self, values: Any) -> tuple[Mapping[str, Any], Plan]:
        """A record as an object, and how it is read. Raises Refused."""
        if isinstance(values, str):
            values = {"prompt": values}
        if not isinstance(values, dict):
            raise Refused("not an object")
        request = request_in(values) if "custom_id" in values or "request" in values else None
        record = values if request is None else request
        keys = tuple(record)
        if None in record.values():
            keys = tuple([key for key in keys if record[key] is not None])
        plan = self._plans.get(keys)
        if plan is None or len(keys) < len(record):
            self.columns.update(dict.fromkeys(list(record)[:MAX_PLANS]))
        if plan is None:
            if len(self._plans) == MAX_PLANS:
                self._fold()
            plan = self._plans[keys] = self._planned(keys, request=request is not None)
        return record, plan

    def taken(self) -> list[Taken]:
        """The shapes that gave prompts, the most frequent first."""
        self._fold()
        return sorted(self._reported.values(), key=lambda taken: -taken.prompts)

    def check_columns(self) -> None:
        """Raises ConfigError where the user named a column that no record has."""
        named = [
            (f"--map {field}={place.words}", name) for field, place in self._mapped.items() for name in place.columns
        ]
        named += [(f"--ignore {name}", name) for name in sorted(self._ignored)]
        for option, name in named:
            if self.columns and name not in self.columns:
                raise ConfigError(
                    f"{option}: no record has a column {name!r}. {_meant(name, self.columns)}"
                    f"The columns are {listed(self.columns)}. Nothing was imported."
                )

    def _planned(self, keys: tuple[str, ...], *, request: bool) -> Plan:
        visible = [key for key in keys if key not in self._ignored]
        shape = named(self._shape, visible) if self._shape else recognised(visible)
        places = {**EVERYWHERE, **(shape.fields if shape else {"answers": (column("responses"),)})}
        fields = {name: field for name, options in places.items() if (field := _there(options, visible))}
        fields = self._with_mapped(fields)
        used = frozenset(name for field in fields.values() if not field.keeps for name in field.columns)
        null = {name for options in places.values() for field in options for name in field.columns if name not in keys}
        parts = tuple(key for key in visible if key.casefold() in PARTS and key not in used)
        lacking = None if "prompt" in fields or "messages" in fields else _no_prompt(shape and shape.name, visible)
        name = shape.name if shape else "columns as mapped" if self._mapped else ""
        return Plan(f"{BATCH_REQUEST} ({name})" if request else name, fields, used | null, parts, lacking)

    def _with_mapped(self, fields: dict[str, Field]) -> dict[str, Field]:
        """The user's places before the shape's: a column that the user gave to one field is read by no other."""
        if not self._mapped:
            return fields
        given = {name for field in self._mapped.values() for name in field.columns}
        replaced = {"prompt", "messages"} if {"prompt", "messages"} & self._mapped.keys() else set()
        kept = {
            name: field
            for name, field in fields.items()
            if name not in replaced and (name == "answer" or not given.intersection(field.columns))
        }
        return kept | self._mapped

    def _fold(self) -> None:
        """Put the plans' counts together by shape, and forget the plans."""
        for plan in self._plans.values():
            if plan.prompts:
                before = self._reported.get(plan.shape, Taken(plan.shape, 0, 0, {}))
                places = {name: plan.fields[name].words for name in FIELDS if name in plan.fields}
                self._reported[plan.shape] = Taken(
                    plan.shape, before.prompts + plan.prompts, before.answers + plan.answers, places | before.fields
                )
        self._plans.clear()


def nothing(what: str, read: int, reason: str | None, columns: Sequence[str]) -> str:
    """The sentence of an import that brought nothing."""
    if not read:
        return "the files hold no record."
    told = f" The columns are {listed(columns)}." if columns else ""
    return f"no {what} came of {read:,} records. The first reason: {reason or 'none'}.{told}"


def listed(columns: Iterable[str], limit: int = 20) -> str:
    """Columns' names for a sentence."""
    names = [str(name)[:60] for name in columns]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _there(options: Iterable[Field], keys: list[str]) -> Field | None:
    return next((field for field in options if any(name in keys for name in field.columns)), None)


def _no_prompt(shape: str | None, keys: list[str]) -> str:
    likely = next((key for name in LIKELY for key in keys if key.casefold() == name), "COLUMN")
    what = f"is no {shape} record: it " if shape else ""
    return f"{what}has neither prompt nor messages, but {listed(keys) or 'nothing'}; try --map prompt={likely}"


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]}? " if close else ""
