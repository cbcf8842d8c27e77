"""Exports a run: its files, the documents beside them, and a manifest with their content, its origin and what stayed.

All is written in a hidden folder beside its place and moved there once it is complete, the manifest last. A crash or a
full disk leaves the previous export as it was.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

import persyn
from persyn import runs
from persyn.config import Export, Format, Policy
from persyn.config.export import BARE
from persyn.errors import ConfigError, PersynError, ServiceError
from persyn.exports import best, choices, documents, layouts, order, rows, selection
from persyn.exports.choices import Choices
from persyn.exports.contamination import Benchmarks
from persyn.exports.files import Finished, Sink, open_sink
from persyn.exports.layouts import RowForm
from persyn.exports.manifest import BELOW_BAR, ExportedFile, Manifest, RouterVersion, Split
from persyn.exports.order import RowOrder
from persyn.exports.rows import RunFacts
from persyn.exports.selection import ExportedRow, Rules, Tally
from persyn.exports.splits import Splits
from persyn.rewards import matrix

MANIFEST = "manifest.json"

_RECORD = text("""
INSERT INTO export (run_id, format, layout, path, sha256, rows, policy, keep)
VALUES (:run_id, :format, :layout, :path, :sha256, :rows, :policy, :keep)
""")


class _Plan(NamedTuple):
    """The settings of one export, resolved: its answers, and the shape of its rows."""

    facts: RunFacts
    run: runs.Run
    policy: Policy
    export: Export
    choices: Choices
    shape: RowForm
    benchmarks: Sequence[Path]
    loglik: int | None  # the scorer that the rows are ordered by
    separates: bool = False  # whether what stays below the bar goes into files of its own

    @property
    def splits(self) -> list[Split]:
        """The splits that have files, the training rows' first."""
        kept_aside: list[Split] = ["validation"] if self.export.validation else []
        return ["train", *kept_aside, *([BELOW_BAR] if self.separates else [])]

    @property
    def takes(self) -> list[str]:
        """The flaws with which an answer gets a row, of whichever split."""
        return [*self.export.keep, *([BELOW_BAR] if self.separates else [])]


def export_run(
    engine: Engine, run_id: int, folder: Path, export: Export | None = None, policy: Policy | None = None,
    benchmarks: Sequence[Path] = (),
) -> Manifest:  # fmt: skip
    """Write the run's set into the folder, and note each file of rows in table `export`.

    `export` None takes the run's own section, `policy` None its own policy; no row may hold an item of the benchmarks.
    Raises NotFound; ConfigError where the policy has no decisions here, or where a file of somebody else's stands in
    the way; InputError where a benchmark cannot be read; ServiceError where Postgres goes away; PersynError where the
    files cannot be written. Nothing in the folder has changed then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
            unfinished = Path(temporary)
            with _snapshot(engine) as connection:
                plan = _plan(connection, run_id, export, policy, benchmarks)
                before = _previous(folder)
                _refuse_to_overwrite(folder, plan, before)
                manifest = _write(connection, plan, unfinished)
            (unfinished / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            with engine.begin() as connection:
                _record(connection, manifest, folder)
                _move(unfinished, folder, manifest, before)
    except OSError as exc:
        raise PersynError(
            f"{folder}: the export cannot be written: {exc.strerror or exc}. Make room or choose another folder, "
            "then export again; no file was left half written."
        ) from exc
    except OperationalError as exc:
        problem = " ".join(str(exc.orig).split())
        raise ServiceError(f"Postgres failed during the export: {problem}. Export again; the old files stand.") from exc
    return manifest


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that shows all queries the same state of the tables, while workers go on writing."""
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def _plan(
    connection: Connection, run_id: int, export: Export | None, policy: Policy | None, benchmarks: Sequence[Path]
) -> _Plan:
    facts = rows.run_facts(connection, run_id)
    run = runs.load(connection, run_id)
    export, policy = export or run.config.export, policy or run.config.policy
    if export.layout == "preference":
        chosen = choices.every_measured_answer()
    else:
        chosen = choices.of_policy(connection, run, policy)
    reasoning = export.reasoning or layouts.DEFAULT_REASONING[export.layout]
    if reasoning != "drop" and not rows.have_reasoning(connection, run_id, chosen):
        reasoning = "drop"
    columns = list(export.columns)
    if export.keep and export.layout not in BARE and "flaws" not in columns:
        columns.append("flaws")  # whoever keeps flawed answers must be able to tell them from the others
    ability = "math" if facts.is_mathematics else ""
    rerouting = run.config.rerouting
    by_grades = rerouting is not None and not run.config.is_checked
    if rerouting is not None and by_grades and rerouting.below_bar == "keep":
        export = export.model_copy(update={"keep": list(dict.fromkeys([*export.keep, BELOW_BAR]))})
    separates = (
        rerouting is not None and by_grades and rerouting.below_bar == "separate" and export.layout != "preference"
    ) and BELOW_BAR not in export.keep
    with_tools = rows.have_tools(connection, run_id, chosen)
    shape = RowForm(export.layout, reasoning, tuple(columns), facts.prompt_set, ability, with_tools)
    loglik = None if export.order == "given" else order.loglik_scorer(connection, run, export.order)
    return _Plan(facts, run, policy, export, chosen, shape, benchmarks, loglik, separates)


def _write(connection: Connection, plan: _Plan, folder: Path) -> Manifest:
    tally, schema = Tally(), layouts.schema(plan.shape)
    with ExitStack() as stack:
        sinks: dict[tuple[Split, Format], Sink] = {}
        for split in plan.splits:
            for format in plan.export.formats:
                sinks[split, format] = stack.enter_context(open_sink(folder, split, format, schema))
        for row in _rows(connection, plan, tally):
            for format in plan.export.formats:
                sinks[row.split, format].add(row.values, row.characters)
        files = [_describe(*kind, finished) for kind, sink in sinks.items() for finished in sink.finish()]
    manifest = _manifest(connection, plan, tally, files)
    for name, content in documents.documents(manifest, documents.Origin(plan.facts, tally, schema)):
        (folder / name).write_text(content, encoding="utf-8")
    return manifest


def table(engine: Engine, run_id: int, export: Export | None = None, policy: Policy | None = None) -> pa.Table:
    """The rows for training and validation that `export_run` would write, in memory. Raises as it does."""
    with _snapshot(engine) as connection:
        plan = _plan(connection, run_id, export, policy, ())
        values = [row.values for row in _rows(connection, plan, Tally()) if row.split != BELOW_BAR]
        return pa.Table.from_pylist(values, schema=layouts.schema(plan.shape))


class Taught(NamedTuple):
    """The answers that a student would learn from an export of the run, and what it would go without."""

    generation_ids: list[int]  # in the prompts' order
    with_reasoning: bool  # whether a thought stands before its answer
    left_out: dict[str, int]
    missing: dict[str, int]  # prompts without an answer, by reason


def taught(engine: Engine, run_id: int, policy: Policy | None = None) -> Taught:
    """The answers of the training split of the run's export; a layout of pairs is taken as one of rows.

    Raises NotFound; ConfigError where the policy has no decisions here.
    """
    with _snapshot(engine) as connection:
        own = runs.load(connection, run_id).config.export
        reasoning = own.reasoning or layouts.DEFAULT_REASONING[own.layout]
        rows_of = own.model_copy(update={"layout": "prompt_completion", "reasoning": reasoning, "columns": []})
        plan, tally = _plan(connection, run_id, rows_of, policy, ()), Tally()
        ids = [int(row.values["generation_id"]) for row in _rows(connection, plan, tally) if row.split == "train"]
        missing = rows.missing(connection, run_id, plan.choices)
        return Taught(ids, plan.shape.reasoning == "think", dict(tally.left_out), missing)


def _rows(connection: Connection, plan: _Plan, tally: Tally) -> Iterator[ExportedRow]:
    config, is_preference = plan.run.config, plan.export.layout == "preference"
    answers = rows.answers(
        connection, plan.run.id, plan.choices, _order(connection, plan), with_scores=config.asks_several_times
    )
    if config.asks_several_times:
        groups = best.groups(connection, plan.run, answers)
        answers = chain.from_iterable(groups) if is_preference else selection.best_answers(groups, plan.takes, tally)
    if is_preference or {"reward", "learnability"} & {*plan.export.columns}:
        measured = matrix.load(connection, plan.run.id, config)
        answers = selection.with_rewards(answers, measured, [teacher.name for teacher in config.teachers])
    make = selection.preference_rows if is_preference else selection.training_rows
    benchmarks = Benchmarks.of_files(plan.benchmarks) if plan.benchmarks else None
    rules = Rules(plan.export, plan.shape, _splits(connection, plan), benchmarks, plan.separates)
    return make(answers, rules, tally)


def _order(connection: Connection, plan: _Plan) -> RowOrder:
    """The order of the rows; of prompts with several answers by the one that is taken, for which all are read twice."""
    if plan.loglik is None:
        return order.GIVEN
    if not plan.run.config.asks_several_times:
        return order.by_score(plan.export.order, plan.loglik)
    groups = best.groups(connection, plan.run, rows.answers(connection, plan.run.id, plan.choices, with_scores=True))
    chosen = selection.best_answers(groups, plan.takes, Tally())
    values = {answer.prompt_id: (answer.scores or {}).get(str(plan.loglik)) for answer in chosen}
    return order.by_value(plan.export.order, {key: value for key, value in values.items() if value is not None})


def _splits(connection: Connection, plan: _Plan) -> Splits:
    splits = Splits(plan.export.validation, plan.run.config.seed)
    if plan.export.validation:
        for prompt_id, messages in rows.prompts(connection, plan.run.prompt_set_id):
            splits.add(prompt_id, messages)
    return splits


def _manifest(connection: Connection, plan: _Plan, tally: Tally, files: list[ExportedFile]) -> Manifest:
    facts = plan.facts
    is_preference = plan.export.layout == "preference"
    missing = {} if is_preference else rows.missing(connection, facts.id, plan.choices)
    total = tally.by_split.total()
    return Manifest(
        run=facts.name,
        run_id=facts.id,
        student=facts.student,
        policy=plan.policy,
        config_sha256=facts.config_sha256,
        router=_router(facts),
        run_code_version=facts.code_version,
        export_code_version=persyn.__version__,
        layout=plan.export.layout,
        reasoning=plan.shape.reasoning,
        keep=plan.export.keep,
        order=plan.export.order,
        columns=list(plan.shape.columns),
        prompts=total + tally.below_bar + tally.left_out.total() + sum(missing.values()),
        rows=total,
        rows_by_split={split: tally.by_split[split] for split in plan.splits if split != BELOW_BAR},
        rows_below_bar=tally.below_bar,
        rows_by_teacher={teacher.name: tally.by_teacher[teacher.name] for teacher in facts.teachers},
        unchecked=tally.unchecked,
        passed_over=tally.passed_over,
        flawed=dict(sorted(tally.flawed.items())),
        left_out=dict(sorted(tally.left_out.items())),
        benchmarks={path.name: _sha256(path) for path in plan.benchmarks},
        missing=missing,
        longest_row=tally.longest,
        files=files,
        documents=documents.names(plan.export.layout, with_benchmarks=bool(plan.benchmarks)),
    )


def _router(facts: RunFacts) -> RouterVersion | None:
    if facts.router_id is None or facts.router_sha256 is None:
        return None
    return RouterVersion(id=facts.router_id, sha256=facts.router_sha256)


def _describe(split: Split, format: Format, finished: Finished) -> ExportedFile:
    path, count = finished
    size = path.stat().st_size
    return ExportedFile(format=format, split=split, name=path.name, rows=count, bytes=size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(connection: Connection, manifest: Manifest, folder: Path) -> None:
    for file in manifest.files:
        values = file.model_dump(include={"format", "sha256", "rows"})
        values |= manifest.model_dump(include={"run_id", "layout", "policy", "keep"})
        connection.execute(_RECORD, values | {"path": str((folder / file.name).resolve())})


class _Previous(NamedTuple):
    """The names in the manifest that stands in the folder already."""

    files: list[str]
    documents: list[str]


def _previous(folder: Path) -> _Previous:
    """Empty where there is no manifest, or none of ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return _Previous([file["name"] for file in manifest["files"]], manifest.get("documents", []))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return _Previous([], [])


def _refuse_to_overwrite(folder: Path, plan: _Plan, before: _Previous) -> None:
    """Raises ConfigError where a document would replace a file that no export wrote."""
    for name in documents.names(plan.export.layout, with_benchmarks=bool(plan.benchmarks)):
        if name not in before.documents and (folder / name).exists():
            raise ConfigError(f"{folder / name}: this file is not an export's. Choose another folder, or move it away.")


def _move(unfinished: Path, folder: Path, manifest: Manifest, before: _Previous) -> None:
    """The new files take their places; those of the previous export that have no successor go."""
    names = [*(file.name for file in manifest.files), *manifest.documents, MANIFEST]
    for name in names:
        os.replace(unfinished / name, folder / name)
    for name in {*before.files, *before.documents} - {*names}:
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
