"""`persyn prompts delete`: removing prompts with all that hangs on them, as the person whose they are may ask."""

from typing import Annotated

import typer

from persyn import removal
from persyn.cli import context, terminal
from persyn.cli.options import Yes
from persyn.errors import ConfigError


def delete(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids of your file, numbers, or sha256 of the messages."),
    ] = None,
    set_name: Annotated[str, typer.Option("--set", help="The prompt set.")] = ...,  # type: ignore[assignment]
    everything: Annotated[bool, typer.Option("--all", help="The whole set; no run may stand on it.")] = False,
    yes: Yes = False,
) -> None:
    """Delete prompts with their answers, scores, decisions and jobs in every run; name the exports that hold them."""
    if bool(keys) == everything:
        raise ConfigError("Say which: ids of prompts, or --all for the whole set.")
    engine = context.engine()
    with engine.connect() as conn:
        ids = removal.find_prompts(conn, set_name, keys or [], everything=everything)
        numbers = removal.size_of_prompts(conn, ids)
    typer.echo(f"Of the set {set_name}: {removal.sentence(numbers)}.")
    if not yes and not typer.confirm("All this is deleted for good. Go on?"):
        return
    with engine.begin() as conn:
        files = removal.delete_prompts(conn, ids)
        if everything:
            removal.delete_set(conn, set_name)
    typer.echo("1 prompt is deleted." if len(ids) == 1 else f"{len(ids):,} prompts are deleted.")
    for path in files:
        terminal.console.print(
            f"{terminal.safe(path)} holds rows of them: write it anew or delete it.", soft_wrap=True, highlight=False
        )
