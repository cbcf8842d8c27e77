"""`persyn router`: train a run's router, and say what it is worth."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persyn.cli.run import Json, RunName, WithWorker, step
from persyn.errors import ConfigError, NotFound
from persyn.states import Stage

if TYPE_CHECKING:
    from rich.table import Table

EMBEDDED_AT_ONCE = 64  # prompts between two steps of the progress bar

app = typer.Typer(no_args_is_help=True, help="The router of a run.")


@app.command("train")
def train_router(run: RunName, with_worker: WithWorker = False) -> None:
    """Stop once the router is trained."""
    step(run, Stage.TRAIN, with_worker)


@app.command("eval")
def evaluate(
    run: RunName,
    as_json: Json = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also train on ever fewer of the calibration prompts.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the curve: a .svg, .png or .pdf file.")] = None,
) -> None:
    """Compare the router with everything else that could choose, on the validation prompts."""
    from persyn.cli import terminal

    # Of matrices this small one thread is the fastest, and on a busy machine several wait for each other without end.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if plot is not None:
        from persyn.reporting import plots

        plots.kind_of(plot)  # refused now, and not after all the work
    found = _measure(run, with_curve=curve or plot is not None)
    if plot is not None:
        plots.learning_curve(plot, title=f"{found['run']}: reward by calibration prompts", points=found["curve"])
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    terminal.console.print(_methods(found), _intervals(found), _shares(found))
    if found.get("curve"):
        terminal.console.print(_curve(found["curve"]))
    if found["advice"]:
        terminal.console.print(found["advice"], soft_wrap=True, highlight=False)
    if plot is not None:
        terminal.console.print(f"The plot is in {terminal.safe(str(plot))}", soft_wrap=True, highlight=False)


def _measure(name: str, *, with_curve: bool) -> dict[str, Any]:
    """`evaluation.table` of the run.

    Raises NotFound without a router or a prompt that offers a choice, ConfigError for a curve that would be untrue.
    """
    import numpy as np

    from persyn import runs
    from persyn.cli import context
    from persyn.config import Settings
    from persyn.inference import models
    from persyn.rewards import matrix
    from persyn.router import evaluation, predict
    from persyn.stages import train

    with context.engine().connect() as conn:
        run = runs.load(conn, runs.find(conn, name))
        stored, measured = train.find(conn, run.id), matrix.load(conn, run.id, run.config)
    if stored is None:
        raise NotFound(f"Run {run.name} has no router yet. `persyn router train {run.name}` trains it.")
    taught, tested = measured.train, measured.validation
    if not ((~np.isnan(measured.reward[tested])).sum(axis=1) >= 2).any():
        raise NotFound(f"Run {run.name} has no validation prompt with scored answers of two teachers.")
    if with_curve and not run.config.router.freeze_backbone:
        raise ConfigError(
            f"Run {run.name} trained its backbone on all training prompts, so a curve over fewer of them would not be"
            " true. Leave out --curve and --plot, or set router.freeze_backbone: true in a run of another name."
        )
    chosen, home = run.config.router, Settings.from_environment().home
    backbone = models.model_path(chosen.backbone, chosen.revision, home)
    router = predict.Router(Path(stored.artifact_path), stored.artifact_sha256, backbone)
    vectors, rewards = _vectors(router, measured.messages), measured.reward
    teachers, seed = [teacher.name for teacher in run.config.teachers], run.config.seed
    pooled = router.pooled(vectors)
    choices = {
        "router": router.head.coefficients(vectors[tested]),
        **evaluation.baselines(pooled[taught], rewards[taught], pooled[tested], rewards[tested], seed=seed),
    }
    found = {"run": run.name, "teachers": teachers, **evaluation.table(choices, rewards[tested], teachers, seed=seed)}
    if with_curve:
        with _bar("Training on fewer", sum(evaluation.curve_sizes(len(taught)))) as done:
            found["curve"] = evaluation.curve(
                vectors[taught], rewards[taught], vectors[tested], rewards[tested], run.config.router,
                run.config.preferences, seed=seed, on_point=done,
            )  # fmt: skip
    return found


def _vectors(router: Any, prompts: list[Any]) -> Any:
    import numpy as np

    parts = []
    with _bar("Embedding", len(prompts)) as done:
        for start in range(0, len(prompts), EMBEDDED_AT_ONCE):
            parts.append(router.vectors(prompts[start : start + EMBEDDED_AT_ONCE]))
            done(len(parts[-1]))
    return np.vstack(parts)


@contextmanager
def _bar(what: str, prompts: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, where that is a terminal; takes how many prompts more are done."""
    from rich import progress

    from persyn.cli import terminal

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> str:
            return f"{task.speed:,.1f}/s" if task.speed else ""

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} prompts"),
        Rate(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=terminal.err, disable=not terminal.err.is_terminal) as bar:
        task = bar.add_task(what, total=prompts)
        yield lambda count: bar.advance(task, count)


def _methods(found: dict[str, Any]) -> "Table":
    from rich.table import Table

    from persyn.cli import terminal

    table = Table(title=f"{terminal.safe(found['run'])}: {found['prompts']} validation prompts", pad_edge=False)
    table.add_column("chosen by", no_wrap=True)
    for column in ("reward", "of gap", "Hit@1", "Hit@3", "pairs", "regret"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in found["methods"].items():
        table.add_row(
            name.replace("_", " "),
            *(terminal.number(row[key] and row[key][0]) for key in ("mean_reward", "gap_recovered")),
            *(terminal.number(row[key]) for key in ("hit_at_1", "hit_at_3", "pairwise_accuracy", "regret")),
        )
    error = found["calibration"]["expected_calibration_error"]
    table.caption = (
        "of gap: of the way from the static best's reward to the oracle's. The chances that the router gives to pairs"
        f" are off by {terminal.number(error)} on average."
    )
    return table


def _intervals(found: dict[str, Any]) -> "Table":
    from rich.table import Table

    from persyn.cli import terminal

    table = Table(title="Bootstrap intervals, 95%", pad_edge=False)
    table.add_column("chosen by", no_wrap=True)
    for column in ("reward", "router's reward minus it"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in found["methods"].items():
        difference = found["differences"].get(f"router_minus_{name}")
        shown = f"{difference[0]:+.3f} ({_interval(difference)})" if difference else ""
        reward = row["mean_reward"]
        table.add_row(name.replace("_", " "), f"{terminal.number(reward and reward[0])} ({_interval(reward)})", shown)
    return table


def _shares(found: dict[str, Any]) -> "Table":
    from rich.table import Table

    from persyn.cli import terminal

    table = Table(title="Shares of the validation prompts", pad_edge=False)
    table.add_column("teacher")
    names = ("router", "static", "oracle")
    for column in names:
        table.add_column(column, justify="right")
    for teacher in found["teachers"]:
        table.add_row(terminal.safe(teacher), *(f"{found['methods'][name]['shares'][teacher]:.1%}" for name in names))
    return table


def _curve(points: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    from persyn.cli import terminal

    table = Table(title="Learning curve", pad_edge=False)
    for column in ("calibration prompts", "reward", "95%", "static best", "Hit@1", "Hit@3"):
        table.add_column(column, justify="right")
    for point in points:
        reward = point["mean_reward"]
        cells = [terminal.number(reward and reward[0]), _interval(reward), terminal.number(point["static_mean_reward"])]
        table.add_row(
            str(point["prompts"]), *cells, terminal.number(point["hit_at_1"]), terminal.number(point["hit_at_3"])
        )
    return table


def _interval(found: list[float] | None) -> str:
    return f"{found[1]:.3f} to {found[2]:.3f}" if found else "–"
