"""`persyn jobs`: looking at jobs, giving dead ones a fresh start, taking back what is not wanted any more."""

import getpass
import json
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from persyn import runs
from persyn.cli import context, fleet, terminal
from persyn.cli.options import Json, Queue, RunKey, Teacher, Yes
from persyn.errors import ConfigError
from persyn.jobs import operators
from persyn.states import JobState

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer(no_args_is_help=True, help="The jobs, one by one.")

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Jobs by number.")]
State = Annotated[JobState | None, typer.Option(help="Only jobs in this state.")]
Error = Annotated[str | None, typer.Option("--error", metavar="CODE", help="Only jobs with this error code.")]


@app.command("list")
def list_jobs(
    run: RunKey = None,
    state: State = None,
    teacher: Teacher = None,
    queue: Queue = None,
    error: Error = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the oldest first."""
    with context.engine().connect() as conn:
        wanted = _filter(conn, run=run, state=state, teacher=teacher, queue=queue, error=error)
        rows = operators.list_jobs(conn, wanted, limit)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], default=str, indent=2))
        return
    table = Table("job", "run", "queue", "prompt", "state", "attempts", "losses", "error")
    for row in rows:
        cells = (row.id, row.run, row.queue, row.prompt or "–", row.state, row.attempt, row.lost_count,
                 row.error_code or "–")  # fmt: skip
        table.add_row(*(terminal.safe(str(cell), 200) for cell in cells))
    terminal.console.print(table if rows else "No such jobs.")
    if len(rows) == limit:
        terminal.console.print(f"These are the first {limit}; --limit shows more.")


@app.command("show")
def show_job(
    job: Annotated[int, typer.Argument(help="The job's number.")],
    as_json: Json = False,
) -> None:
    """Tell all that happened to a job: each attempt, whose lease it was, and each error."""
    with context.engine().connect() as conn:
        history = operators.show(conn, job)
    if as_json:
        typer.echo(json.dumps(history.as_json(), default=str, indent=2))
        return
    terminal.console.print(_headline(history), highlight=False, markup=False)
    for event in history.events:
        where = f"lease {event.lease_id}, {event.worker}" if event.lease_id is not None else ""
        error = f"{event.error_code}: " if event.error_code else ""
        line = f"{event.at:%F %T}  {event.event:<9}  attempt {event.attempt}  {where}"
        terminal.console.print(terminal.safe(line).rstrip(), highlight=False)
        if error or event.detail:
            terminal.console.print(f"    {terminal.safe(error + (event.detail or ''))}", highlight=False)


def _headline(history: operators.JobHistory) -> str:
    job = history.job
    whom = f" by {history.teacher}" if history.teacher else ""
    what = f"{job.kind} ({history.scorer})" if history.scorer else job.kind
    error = f", error {job.error_code}" if job.error_code else ""
    prompt = f" prompt {job.prompt}" if job.prompt else ""
    sample = f", answer {history.sample_index}" if history.sample_index else ""
    return (
        f"Job {job.id} of run {job.run}: {what}{prompt}{whom}{sample}, {job.state}{error};"
        f" attempts {job.attempt}, losses {job.lost_count}"
    )


@app.command()
def retry(
    ids: Ids = None,
    run: RunKey = None,
    teacher: Teacher = None,
    queue: Queue = None,
    error: Error = None,
    yes: Yes = False,
) -> None:
    """Give dead jobs a fresh start, with no attempt and no loss on their account."""
    _narrow_enough(ids, run, teacher, queue, error)
    engine = context.engine()
    with engine.connect() as conn:
        wanted = _filter(conn, ids=ids, run=run, teacher=teacher, queue=queue, error=error, state=JobState.DEAD)
        dead = operators.count(conn, wanted).get(JobState.DEAD, 0)
    if _confirmed(dead, "dead jobs to be tried again", yes):
        typer.echo(f"{_jobs(operators.retry(engine, wanted))} ready again.")


@app.command()
def cancel(
    ids: Ids = None,
    run: RunKey = None,
    state: State = None,
    teacher: Teacher = None,
    queue: Queue = None,
    error: Error = None,
    yes: Yes = False,
) -> None:
    """Take back jobs that wait or are dead. One that a worker holds is finished by it first."""
    if state not in (None, JobState.READY, JobState.DEAD):
        raise ConfigError(f"--state {state}: only ready and dead jobs can be cancelled.")
    _narrow_enough(ids, run, teacher, queue, error)
    engine = context.engine()
    with engine.connect() as conn:
        wanted = _filter(conn, ids=ids, run=run, state=state, teacher=teacher, queue=queue, error=error)
        counts = operators.count(conn, wanted)
    whole = wanted == operators.Filter(run_id=wanted.run_id)
    what = "jobs to be cancelled; that ends the run" if whole else "jobs to be cancelled"
    if _confirmed(counts.get(JobState.READY, 0) + counts.get(JobState.DEAD, 0), what, yes):
        if wanted.run_id is not None and whole:
            number = runs.cancel(engine, wanted.run_id, by=f"{getpass.getuser()}@{socket.gethostname()}")
            typer.echo(f"{_jobs(number)} cancelled, and run {run} with them; `persyn runs resume {run}` undoes it.")
        else:
            typer.echo(f"{_jobs(operators.cancel(engine, wanted))} cancelled.")
    if leased := counts.get(JobState.LEASED, 0):
        typer.echo(f"{_jobs(leased)} being worked on: such a job finishes, or comes back to be cancelled then.")


def _filter(
    conn: "Connection", *, run: str | None, state: JobState | None, teacher: str | None, queue: str | None,
    error: str | None, ids: list[int] | None = None,
) -> operators.Filter:  # fmt: skip
    if teacher is not None and queue is not None:
        raise ConfigError("Give --teacher or --queue, not both.")
    run_id = None if run is None else runs.find(conn, run)
    return operators.Filter(run_id, state, fleet.queue_of(conn, teacher, queue), error, ids or None)


def _narrow_enough(*given: Any) -> None:
    if not any(given):
        raise ConfigError("Say which: job numbers, or at least one of --run, --teacher, --queue and --error.")


def _confirmed(count: int, what: str, yes: bool) -> bool:
    if count == 0:
        typer.echo(f"There are no {what}.")
        return False
    return yes or typer.confirm(f"{count} {what}. Go on?")


def _jobs(number: int) -> str:
    return "1 job is" if number == 1 else f"{number} jobs are"
