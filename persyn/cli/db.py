"""`persyn db`: the schema."""

from typing import Annotated

import typer

from persyn.cli import context
from persyn.db import auditor, migrate, session
from persyn.errors import SchemaError

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
