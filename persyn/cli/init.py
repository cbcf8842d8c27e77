"""`persyn init`: a commented run configuration to start from.

The template is a file of its own so that it can be read, tested and shown in the docs as it is.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from persyn.errors import ConfigError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented run configuration to start from."""
    write_template(path, force=force)
    typer.echo(f"Wrote {path}. Edit it, then import prompts with `persyn prompts import FILE --set my-prompts`.")


def write_template(path: Path, *, force: bool) -> None:
    """Raises ConfigError where `path` exists and `force` is not given, or where it cannot be written."""
    text = (resources.files("persyn.cli") / "templates" / "run.yaml").read_text(encoding="utf-8")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already. Choose another name, or overwrite it with --force.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}. Choose a folder that you can write to.") from exc
