"""`persyn run` and its single steps: enqueue, watch, and go on from wherever the last call stopped."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from persyn import logs, reporting, runs, set_needs
from persyn.cli import check, context, export, terminal
from persyn.cli.options import RouterOf, RunName, WithWorker
from persyn.cli.screen import screen
from persyn.config import RunConfig, load_run
from persyn.config.variants import Changes, variant
from persyn.driving import course, exporting
from persyn.driving.course import ALLOWED, Allowance
from persyn.errors import ConfigError, RunStopped
from persyn.stages import pipeline
from persyn.states import Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not check a new run first.")]
Yes = Annotated[bool, typer.Option("--yes", help="Start without a question.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Stop after the check; nothing is made.")]
Retry = Annotated[bool, typer.Option("--retry", help="First give the run's dead jobs a fresh start.")]
AllowMissing = Annotated[
    str, typer.Option("--allow-missing", metavar="N|%", help="So many prompts may have no answer; with more, exit 3.")
]
LogLevel = Annotated[
    logs.Level | None,
    typer.Option("--log-level", envvar=logs.LEVEL, help="Log from this level on; the worker of this command too."),
]
LogFormat = Annotated[
    logs.Format | None,
    typer.Option(
        "--log-format", envvar=logs.FORMAT, help="Log for people, or as JSON; the worker and the progress too."
    ),
]


def run(
    config: Annotated[
        Path,
        typer.Argument(help="The run's YAML, which `persyn init` writes; of a variant, also the name of a run."),
    ],
    with_worker: WithWorker = False,
    no_check: NoCheck = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    retry: Retry = False,
    more: Annotated[
        bool, typer.Option("--more", help="Take in the prompts that came after the run was routed.")
    ] = False,
    router_of: RouterOf = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Run a variant: the same run under another policy, named RUN.POLICY.")
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="Likewise: by another weight of learnability.")] = None,
    reroute: Annotated[str | None, typer.Option("--reroute", help="Likewise: on or off.")] = None,
    allow_missing: AllowMissing = ALLOWED,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Take a run from its YAML to its export; kill it whenever you like, the next call goes on."""
    _log(log_level, log_format)
    allowed = Allowance.parse(allow_missing)
    changes = Changes(exporting.known_policy(policy), alpha, _on_or_off(reroute))
    if changes.words() and router_of is not None:
        raise ConfigError("--router-of: a variant goes by the router of its run. Leave it out.")
    given = None if changes.words() else check.load(config, router_of)
    engine = context.engine(may_begin=True)
    parsed = given or variant_of(engine, str(config), changes)
    check.before(engine, parsed, with_worker=with_worker, no_check=no_check, yes=yes, dry_run=dry_run)
    with engine.begin() as conn:
        run_id = runs.create(conn, parsed)
    if more:
        take_more(engine, run_id)
    finish(engine, run_id, Stage.GENERATE, with_worker=with_worker, retry=retry)
    report(engine, run_id)
    with engine.connect() as conn:
        result = reporting.outcome(conn, run_id)
    if result.answered:
        export.write(engine, run_id)
    else:
        terminal.console.print(terminal.safe(result.sentence()), soft_wrap=True, highlight=False)
    require(result, parsed.name, allowed)


def _on_or_off(given: str | None) -> Literal["on", "off"] | None:
    match given:
        case None | "on" | "off":
            return given
    raise ConfigError(f"--reroute: got {given!r}; give on or off.")


def variant_of(engine: "Engine", run: str, changes: Changes) -> RunConfig:
    """The variant of a run by its YAML, name or number. Raises NotFound, ConfigError."""
    with engine.connect() as conn:
        base = load_run(Path(run)) if _is_file(run) else runs.load(conn, runs.find(conn, run)).config
        return variant(base, changes, set_needs.find(conn, base.prompts).prompts)


def _log(level: logs.Level | None, form: logs.Format | None) -> None:
    """Log to standard error as asked, and let the worker of this command do the same."""
    given = {logs.LEVEL: level, logs.FORMAT: form}
    os.environ |= {name: str(value) for name, value in given.items() if value is not None}
    as_json = form is logs.Format.JSON
    logs.to_stderr(level or (logs.Level.INFO if as_json else logs.Level.WARNING), form or logs.Format.TEXT)


def calibrate(
    run: RunName, with_worker: WithWorker = False, retry: Retry = False, no_check: NoCheck = False, yes: Yes = False
) -> None:
    """Stop once every teacher has answered the calibration prompts. RUN may be a YAML that is new."""
    step(run, Stage.CALIBRATE, with_worker, retry, no_check=no_check, yes=yes)


def score(
    run: RunName, with_worker: WithWorker = False, retry: Retry = False, no_check: NoCheck = False, yes: Yes = False
) -> None:
    """Stop once the calibration answers are scored."""
    step(run, Stage.SCORE, with_worker, retry, no_check=no_check, yes=yes)


def route(
    run: RunName, with_worker: WithWorker = False, retry: Retry = False, no_check: NoCheck = False, yes: Yes = False
) -> None:
    """Stop once every prompt has its teacher."""
    step(run, Stage.ROUTE, with_worker, retry, no_check=no_check, yes=yes)


def generate(
    run: RunName,
    with_worker: WithWorker = False,
    retry: Retry = False,
    allow_missing: AllowMissing = ALLOWED,
    no_check: NoCheck = False,
    yes: Yes = False,
) -> None:
    """Stop once every teacher has answered its own prompts."""
    allowed = Allowance.parse(allow_missing)
    engine, run_id = step(run, Stage.GENERATE, with_worker, retry, no_check=no_check, yes=yes)
    with engine.connect() as conn:
        result, name = reporting.outcome(conn, run_id), runs.load(conn, run_id).name
    terminal.console.print(terminal.safe(result.sentence()), soft_wrap=True, highlight=False)
    require(result, name, allowed)


def step(run: str, stage: Stage, with_worker: bool, retry: bool, *, no_check: bool, yes: bool) -> "tuple[Engine, int]":
    """Take a run, by its name, number or YAML, to a stage, and show its status there. Raises RunStopped.

    A run that is new is checked first, as `persyn run` does.
    """
    engine = context.engine(may_begin=_is_file(run))
    if _is_file(run):
        parsed = load_run(Path(run))
        check.before(engine, parsed, with_worker=with_worker, no_check=no_check, yes=yes, dry_run=False)
    run_id = find_or_create(engine, run)
    try:
        finish(engine, run_id, stage, with_worker=with_worker, retry=retry)
    finally:
        with engine.connect() as conn:
            terminal.console.print(terminal.status_table(reporting.status(conn, run_id)))
    return engine, run_id


def _is_file(run: str) -> bool:
    return run.endswith((".yaml", ".yml"))


def find_or_create(engine: "Engine", run: str) -> int:
    """The id of a run by its name or number, or by its YAML, which makes it where it is new."""
    with engine.begin() as conn:
        if _is_file(run):
            return runs.create(conn, load_run(Path(run)))
        return runs.find(conn, run)


def finish(engine: "Engine", run_id: int, stage: Stage, *, with_worker: bool, retry: bool = False) -> None:
    """Aim the run at a stage and show its way there. Raises RunStopped where it failed or was cancelled."""
    with screen() as shown:
        try:
            course.take(engine, context.broker_url(), run_id, stage, shown, with_worker=with_worker, retry=retry)
            return
        except RunStopped as exc:
            stopped = exc
    with engine.connect() as conn:
        print_dead(reporting.failures(conn, run_id))
    raise stopped


def take_more(engine: "Engine", run_id: int) -> None:
    """Let a routed run go on with the prompts that came after it. Raises ConfigError where its policy cannot."""
    with engine.begin() as conn:
        number = pipeline.take_more(conn, run_id)
    terminal.err.print(f"{number:,} prompts came after the run was routed, and are taken in.", highlight=False)


def require(result: reporting.Outcome, name: str, allowed: Allowance) -> None:
    """Tell of prompts that came late. Raises Incomplete where more answers are missing than may be."""
    if result.came_after:
        terminal.err.print(
            f"{result.came_after:,} prompts came into the set after the run was routed and have no row;"
            " `persyn run` with --more takes them in.",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    course.require(result, name, allowed)


def report(engine: "Engine", run_id: int) -> None:
    """Print the run's summary and, where something could not be done, what and why."""
    with engine.connect() as conn:
        summary = reporting.summary(conn, run_id)
        flat = reporting.degenerate_prompts(conn, run_id)
        failures = reporting.failures(conn, run_id)
    for table in terminal.summary_tables(summary):
        terminal.console.print(table)
    if any(flat[1:]):
        terminal.console.print(terminal.degenerate_line(flat), highlight=False)
    if summary.verdicts.guessed:
        terminal.console.print(terminal.guesses_line(summary.verdicts), highlight=False)
    if summary.late_scores:
        terminal.console.print(terminal.late_scores_line(summary.late_scores), highlight=False)
    print_dead(failures)


def print_dead(failures: Sequence[Any]) -> None:
    """A line for each queue and error with dead jobs: how many, and an example."""
    for row in failures:
        if row.dead_now:
            jobs = "1 job" if row.dead_now == 1 else f"{row.dead_now} jobs"
            dead = f"{jobs} of {row.queue} {'is' if row.dead_now == 1 else 'are'} dead"
            detail = row.example_detail or ""
            terminal.tell(
                f"{dead}: {row.error_code}: {detail[:300]}",
                f"[red]{dead}[/red]: {row.error_code}: {terminal.safe(detail, 300)}",
            )
