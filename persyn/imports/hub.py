"""Data sets by their name on the Hugging Face hub, through the library `datasets` where it is installed."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

from persyn.errors import ConfigError, InputError, MissingExtra
from persyn.imports.records import MAX_BYTES, Record, Rejected

PREFIX = "hf://"
NAME = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?")


class HubSource:
    """One split of a data set, streamed: `hf://OWNER/NAME[/CONFIGURATION][:SPLIT]`, by default the split train.

    Raises ConfigError for another form, and MissingExtra without the library.
    """

    def __init__(self, location: str) -> None:
        found = NAME.fullmatch(location)
        if found is None:
            raise ConfigError(
                f"{location}: expected {PREFIX}OWNER/NAME, {PREFIX}OWNER/NAME/CONFIGURATION or either with :SPLIT."
            )
        self.name = location
        self._parts = found.groupdict()
        try:
            self._datasets: Any = importlib.import_module("datasets")
        except ImportError:
            raise MissingExtra(
                f"{location}: the library `datasets` reads it, which is not installed. Install persyn[hub]."
            ) from None

    def share(self) -> float | None:
        return None

    def records(self, max_bytes: int = MAX_BYTES) -> Iterator[Record | Rejected]:
        """Every row of the split. Raises InputError for whatever the library or the network says."""
        name, config, split = self._parts["name"], self._parts["config"], self._parts["split"] or "train"
        try:
            rows = self._datasets.load_dataset(name, config, split=split, streaming=True)
            for number, values in enumerate(rows, start=1):
                yield Record(number, dict(values), None)
        except (OSError, ValueError, RuntimeError, self._datasets.exceptions.DatasetsError) as exc:
            raise InputError(f"{self.name}: cannot be read: {' '.join(str(exc).split())[:300]}.") from exc
