"""`persyn export`: the training set as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from persyn import runs
from persyn.cli import context, terminal
from persyn.cli.options import RunName
from persyn.config import Column, Export, Flaw, Format, Layout, Order, Policy
from persyn.driving import exporting
from persyn.errors import ConfigError
from persyn.exports import hub
from persyn.exports.manifest import Manifest

if TYPE_CHECKING:
    from sqlalchemy import Engine


Push = Annotated[
    str | None,
    typer.Option("--push", metavar="OWNER/NAME", help="Then push it to this data set of the Hugging Face hub."),
]


def _one_of(kind: Any) -> str:
    return ", ".join(get_args(kind))


RowsOrder = Annotated[
    str | None, typer.Option("--order", help=f"By the student's loss on the answer: one of {_one_of(Order)}.")
]


def export(
    run: RunName,
    folder: Annotated[Path | None, typer.Option("--out", help="The folder to write to.")] = None,
    formats: Annotated[str | None, typer.Option("--format", help=f"Any of {_one_of(Format)}, with commas.")] = None,
    layout: Annotated[str | None, typer.Option("--layout", help=f"One of {_one_of(Layout)}.")] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", help=f"Flawed answers to keep: any of {_one_of(Flaw)}; or all.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help=f"Further columns: any of {_one_of(Column)}; or all.")
    ] = None,
    reasoning: Annotated[
        str | None, typer.Option("--reasoning", help="field: beside the answer; think: inside it; drop.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option("--validation", help="The share of the prompts in files of their own.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="preference: the least difference of two rewards.")
    ] = None,
    order: RowsOrder = None,
    decontaminate: Annotated[
        list[Path] | None,
        typer.Option("--decontaminate", metavar="FILE", help="Leave out rows that hold an item of this benchmark."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Take another policy's choices, as far as answers exist.")
    ] = None,
    push: Push = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: make a data set that is private.")] = False,
) -> None:
    """Write the set that the run has so far, and a manifest of it.

    Each option stands in for the same key of the run's own section `export`.
    """
    repository = _repository(push, private=private)  # refused now, and not after all the work
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
        config = runs.load(conn, run_id).config
    given = {
        "formats": formats, "layout": layout, "keep": keep, "columns": columns, "reasoning": reasoning,
        "validation": validation, "margin": margin, "order": order,
    }  # fmt: skip
    changes = {key: value for key, value in given.items() if value is not None}
    written, manifest = write(
        engine, run_id, folder, exporting.section(config, changes), exporting.known_policy(policy), decontaminate or ()
    )
    if repository is not None:
        _push(repository, written, manifest)


def _repository(name: str | None, *, private: bool) -> hub.Repository | None:
    if name is not None:
        return hub.repository(name, private=private)
    if private:
        raise ConfigError("--private: it is about --push. Give both, or leave it out.")
    return None


def _push(repository: hub.Repository, folder: Path, manifest: Manifest) -> None:
    terminal.err.print(f"Pushing to {terminal.safe(repository.name)}.", highlight=False)
    address = hub.push(repository, folder, manifest)
    terminal.console.print(f"Pushed: {terminal.safe(address)}", soft_wrap=True, highlight=False)


def write(
    engine: "Engine", run_id: int, folder: Path | None = None, export: Export | None = None,
    policy: Policy | None = None, benchmarks: Sequence[Path] = (),
) -> tuple[Path, Manifest]:  # fmt: skip
    """Write the export and say what is in it. Raises PersynError where there is nothing to export."""
    folder, manifest = exporting.write(engine, run_id, folder, export, policy, benchmarks)
    advice = [flaw for flaw in get_args(Flaw) if flaw in manifest.left_out]
    words = [f"`persyn export {manifest.run} --keep {','.join(advice)}` keeps what was left out."] if advice else []
    if "not_asked" in manifest.missing:
        words.append(f"`persyn run {manifest.run} --policy {manifest.policy}` asks for the answers that are missing.")
    for line in words:
        terminal.console.print(line, soft_wrap=True, highlight=False, markup=False)
    terminal.console.print(f"{manifest.outcome()} are in {folder}", soft_wrap=True, highlight=False, markup=False)
    exporting.require_rows(manifest)
    return folder, manifest
