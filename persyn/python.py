"""PerSyn from Python: runs and prompt sets, by the same functions as the commands.

Nothing prints and nothing exits: a call returns a value or raises a PersynError, whose text is a sentence or two.
"""

import importlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persyn import preflight, reporting, runs
from persyn.config import RunConfig, Settings, load_run, parse_run
from persyn.driving import course, exporting, opening
from persyn.errors import ConfigError, InputError, MissingExtra
from persyn.exports import write
from persyn.exports.manifest import Manifest
from persyn.imports import prompts
from persyn.imports.prompts import PromptImport
from persyn.imports.reading import Reading, nothing
from persyn.stages import pipeline
from persyn.states import Stage

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import Engine

_log = logging.getLogger("persyn")
File = str | PathLike[str]


def import_prompts(
    files: File | Sequence[File], *, set: str, shape: str | None = None, map: Sequence[str] = (),
    ignore: Sequence[str] = (), strict: bool = False, rejects: Path | None = None,
) -> PromptImport:  # fmt: skip
    """Import prompts into a set, as `persyn prompts import` does; a set that does not exist is made.

    `map` holds texts such as "prompt=question". Raises InputError where no record is a prompt.
    """
    given = [files] if isinstance(files, str | PathLike) else files
    engine = opening.engine(may_begin=True)
    try:
        report = prompts.import_prompts(
            engine, set, [fspath(file) for file in given], reading=Reading.parse(map, shape, ignore), strict=strict,
            rejects=rejects,
        )  # fmt: skip
    finally:
        engine.dispose()
    if report.came_to_nothing:
        raise InputError(nothing("prompt", report.read, report.first_reason, report.columns))
    return report


class Run:
    """One run: its configuration from a YAML file or a mapping like it, or a run that exists, by its name or number.

    Raises ConfigError where the configuration is wrong. Nothing is made or started before the first call.
    """

    def __init__(self, source: File | int | Mapping[str, Any]) -> None:
        self._config: RunConfig | None = None
        if isinstance(source, Mapping):
            self._config = parse_run(dict(source), source="Run")
            self.key = self._config.name
        elif isinstance(source, PathLike) or str(source).endswith((".yaml", ".yml")):
            self._config = load_run(Path(fspath(source) if isinstance(source, PathLike) else str(source)))
            self.key = self._config.name
        else:
            self.key = str(source)

    def __repr__(self) -> str:
        return f"persyn.Run({self.key!r})"

    def check(self) -> preflight.Report:
        """Whether the run could start, and what it would take, as `persyn check` tells; changes nothing."""
        engine = self._begun
        return preflight.check(engine, self._configuration(), Settings.from_environment(), with_worker=_own_worker())

    def run(
        self, *, with_worker: bool | None = None, check: bool = True, retry: bool = False, more: bool = False,
        allow_missing: str = course.ALLOWED, on_status: Callable[[reporting.RunStatus], None] | None = None,
    ) -> reporting.Outcome:  # fmt: skip
        """Take the run to its end and return how many prompts have their answer; after a break the same call goes on.

        A worker runs beside it for as long as it takes: by default on the embedded services, and not on yours, which
        have workers. `on_status` gets the run's state about once a second. Raises ConfigError where the check before a
        new run finds something wrong, RunStopped where the run fails, and Incomplete where more answers are missing
        than `allow_missing`.
        """
        allowed, engine, config = course.Allowance.parse(allow_missing), self._begun, self._configuration()
        if check and not preflight.has_begun(engine, config):
            _require_sound(self.check())
        with engine.begin() as conn:
            run_id = runs.create(conn, config)
        if more:
            with engine.begin() as conn:
                pipeline.take_more(conn, run_id)
        course.take(
            engine, opening.broker_url(), run_id, Stage.GENERATE, _Silent(on_status),
            with_worker=_own_worker() if with_worker is None else with_worker, retry=retry,
        )  # fmt: skip
        with engine.connect() as conn:
            outcome = reporting.outcome(conn, run_id)
        course.require(outcome, config.name, allowed)
        return outcome

    def status(self) -> reporting.RunStatus:
        """The run's progress, stage by stage. Raises NotFound before it has begun."""
        with self._engine.connect() as conn:
            return reporting.status(conn, runs.find(conn, self.key))

    def summary(self) -> reporting.Summary:
        """The run's teachers and results in numbers. Raises NotFound."""
        with self._engine.connect() as conn:
            return reporting.summary(conn, runs.find(conn, self.key))

    def why(self, prompt: str | int) -> reporting.PromptTrail:
        """All that happened to a prompt, by its id in your file or its number, and why it has its teacher."""
        with self._engine.connect() as conn:
            return reporting.prompt_trail(conn, self.key, str(prompt))

    def export(
        self, folder: File | None = None, *, policy: str | None = None, decontaminate: Sequence[File] = (),
        **section: Any,
    ) -> Manifest:  # fmt: skip
        """Write the set into a folder and return its manifest. `section`: keys of the YAML's section `export`."""
        run_id, export = self._with(section)
        _, manifest = exporting.write(
            self._engine, run_id, None if folder is None else Path(folder), export, exporting.known_policy(policy),
            [Path(file) for file in decontaminate],
        )  # fmt: skip
        exporting.require_rows(manifest)
        return manifest

    def to_arrow(self, *, policy: str | None = None, **section: Any) -> "pa.Table":
        """The rows of an export as a pyarrow table, in memory. `section`: as `export` takes it."""
        run_id, export = self._with(section)
        chosen = exporting.known_policy(policy)
        exporting.require_decisions(self._engine, run_id, export, chosen)
        return write.table(self._engine, run_id, export, chosen)

    def to_pandas(self, *, policy: str | None = None, **section: Any) -> "pd.DataFrame":
        """The rows of an export as a pandas frame. Raises MissingExtra without pandas."""
        _library("pandas", "pandas")
        frame: pd.DataFrame = self.to_arrow(policy=policy, **section).to_pandas()
        return frame

    def to_dataset(self, *, policy: str | None = None, **section: Any) -> "datasets.Dataset":
        """The rows of an export as a Dataset of Hugging Face. Raises MissingExtra without the library datasets."""
        library = _library("datasets", "'persyn[hub]'")
        return library.Dataset(self.to_arrow(policy=policy, **section))

    def _with(self, section: Mapping[str, Any]) -> tuple[int, Any]:
        with self._engine.connect() as conn:
            run_id = runs.find(conn, self.key)
            return run_id, exporting.section(self._config or runs.load(conn, run_id).config, section)

    def _configuration(self) -> RunConfig:
        if self._config is not None:
            return self._config
        with self._engine.connect() as conn:
            return runs.load(conn, runs.find(conn, self.key)).config

    @property
    def _engine(self) -> "Engine":
        return self.__dict__.get("_begun") or self._existing

    @cached_property
    def _existing(self) -> "Engine":
        return self._opened(may_begin=False)

    @cached_property
    def _begun(self) -> "Engine":
        return self._opened(may_begin=True)

    def _opened(self, *, may_begin: bool) -> "Engine":
        """An engine whose connections are closed when nobody has this object any more."""
        engine = opening.engine(may_begin=may_begin)
        weakref.finalize(self, engine.dispose)
        return engine


class _Silent:
    """A screen that shows nothing: the state goes to a function, and what happens to the log."""

    def __init__(self, on_status: Callable[[reporting.RunStatus], None] | None) -> None:
        self._on_status = on_status

    def show(self, status: reporting.RunStatus, notes: Sequence[str]) -> None:
        for note in notes:
            _log.info("%s", note)
        if self._on_status is not None:
            self._on_status(status)

    def say(self, line: str) -> None:
        _log.warning("%s", line)


def _own_worker() -> bool:
    """Whether a run brings its worker: embedded services have no other."""
    return Settings.from_environment().database_url is None


def _require_sound(report: preflight.Report) -> None:
    if report.wrong:
        told = " ".join(f"{finding.about}: {finding.told}" for finding in report.wrong)
        raise ConfigError(f"{report.verdict()} {told}")


def _library(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(
            f"This needs the library {name}, which is not installed. Run pip install {package}."
        ) from None
