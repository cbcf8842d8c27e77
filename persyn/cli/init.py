"""`persyn init`: a commented run configuration to start from.

The template is a file of its own so that it can be read, tested and shown in the docs as it is.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from persyn.config.schema import FILE_NAME, header, json_schema
from persyn.errors import ConfigError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a configuration, and write nothing.")
    ] = False,
) -> None:
    """Write a commented run configuration to start from, and beside it its JSON Schema for editors."""
    if schema:
        typer.echo(_schema_text(), nl=False)
        return
    write_template(path, force=force)
    _write(path.with_name(FILE_NAME), _schema_text(), force=True)  # PerSyn's own, as this version has it
    typer.echo(f"Wrote {path}. Edit it, then import prompts with `persyn prompts import FILE --set my-prompts`.")


def write_template(path: Path, *, force: bool) -> None:
    """Raises ConfigError where `path` exists and `force` is not given, or where it cannot be written."""
    text = (resources.files("persyn.cli") / "templates" / "run.yaml").read_text(encoding="utf-8")
    _write(path, header(FILE_NAME) + text, force=force)


def _schema_text() -> str:
    return json.dumps(json_schema(), ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already. Choose another name, or overwrite it with --force.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}. Choose a folder that you can write to.") from exc
