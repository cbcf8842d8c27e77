"""`persyn db`: the schema."""

from typing import Annotated

import typer

from persyn import removal
from persyn.cli import context, fleet
from persyn.cli.options import Yes
from persyn.db import auditor, migrate, session
from persyn.errors import SchemaError
from persyn.stages import artifacts

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command()
def upgrade() -> None:
    """Bring the database to this version's schema; safe to call from several hosts at once."""
    engine = session.connect(context.endpoints().database_url)
    migrate.upgrade(engine)
    typer.echo("The schema is up to date.")


@app.command()
def check() -> None:
    """Compare the database with the models and the audit views' files; exit 1 where they differ."""
    problems = migrate.differences(context.engine(may_begin=True))
    if problems:
        raise SchemaError("The database differs from this version:\n  " + "\n  ".join(problems))
    typer.echo("The database is what the models and the audit views say.")


@app.command()
def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="90d", help="Of runs that ended before then.")],
    yes: Yes = False,
) -> None:
    """Delete old events, what nothing names any more, and workers that left; runs and results stay."""
    age_s, engine = fleet.seconds(older_than), context.engine()
    with engine.connect() as conn:
        before = removal.sizes(conn)
    typer.echo(f"Now: {_megabytes(before)}.")
    if not yes and not typer.confirm(f"What is older than {older_than} is deleted for good. Go on?"):
        return
    removed = removal.prune(engine, age_s)
    removed["folders of routers and students in PERSYN_ARTIFACTS_URL"] = artifacts.prune_store(engine, age_s)
    with engine.connect() as conn:
        after = removal.sizes(conn)
    typer.echo(f"Deleted: {removal.sentence(removed)}. Now: {_megabytes(after)}; what is freed inside is used again.")


def _megabytes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{table} {size / 1e6:.1f} MB" for table, size in sizes.items())


@app.command("auditor")
def grant_auditor(
    role: Annotated[str, typer.Argument(help="The database role; made if there is none of this name.")] = "auditor",
) -> None:
    """Let a role read the audit views and nothing else."""
    with context.engine().begin() as connection:
        is_new = auditor.grant(connection, role)
    typer.echo(f"{role} may read the schema audit, and nothing else.")
    if is_new:
        typer.echo(f"It has no password yet: set one with `persyn services psql -c '\\password {role}'`.")
