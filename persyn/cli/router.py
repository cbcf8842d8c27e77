"""`persyn router`: train a run's router, and say what it is worth."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from persyn import runs
from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName, WithWorker
from persyn.cli.run import NoCheck, Retry, Yes, step
from persyn.config import Settings
from persyn.errors import ConfigError
from persyn.reporting import plots
from persyn.stages import train
from persyn.states import Stage

app = typer.Typer(no_args_is_help=True, help="The router of a run.")


@app.command("train")
def train_router(
    run: RunName,
    with_worker: WithWorker = False,
    retry: Retry = False,
    again: Annotated[
        bool, typer.Option("--again", help="Train it anew, where its files are lost or scores came later.")
    ] = False,
    with_routed: Annotated[
        bool,
        typer.Option("--with-routed", help="Train it anew, from the measured answers to routed prompts as well."),
    ] = False,
    no_check: NoCheck = False,
    yes: Yes = False,
) -> None:
    """Stop once the router is trained."""
    if again or with_routed:
        engine = context.engine()
        with engine.begin() as conn:
            train.again(conn, runs.find(conn, run), with_routed=with_routed)
    engine, run_id = step(run, Stage.TRAIN, with_worker, retry, no_check=no_check, yes=yes)
    with engine.connect() as conn:
        stored = train.find(conn, run_id)
    if with_routed and stored is not None:
        terminal.console.print(_routed(run, stored.metrics), soft_wrap=True, highlight=False)


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
    if plot is not None:
        plots.kind_of(plot)  # refused now, and not after all the work
    evaluation = _evaluate(run, with_curve=curve or plot is not None)
    evaluation["further_answers"] = _further_answers(run)
    if plot is not None:
        title = f"{evaluation['run']}: reward by calibration prompts"
        plots.learning_curve(plot, title=title, points=evaluation["curve"])
    if as_json:
        typer.echo(json.dumps(evaluation, indent=2))
        return
    terminal.console.print(_methods(evaluation), _intervals(evaluation), _shares(evaluation))
    if evaluation["further_answers"]:
        terminal.console.print(_further(evaluation["further_answers"]))
    if evaluation.get("curve"):
        terminal.console.print(_curve(evaluation["curve"]))
    terminal.console.print(_needed(evaluation), soft_wrap=True, highlight=False)
    if evaluation["with_routed"] is not None:
        terminal.console.print(_routed(run, evaluation["with_routed"]), soft_wrap=True, highlight=False)
    if evaluation["advice"]:
        terminal.console.print(evaluation["advice"], soft_wrap=True, highlight=False)
    if plot is not None:
        terminal.console.print(f"The plot is in {terminal.safe(str(plot))}", soft_wrap=True, highlight=False)


def _evaluate(run: str, *, with_curve: bool) -> dict[str, Any]:
    from persyn.reporting import router  # noqa: PLC0415 - loads torch, which `persyn router train` does not need

    with terminal.progress() as show:
        return router.evaluate(
            context.engine(), run, Settings.from_environment().home, with_curve=with_curve,
            on_progress=lambda what, done, total: show(what, done, f"of {total:,} prompts", done / total),
        )  # fmt: skip


def _further_answers(run: str) -> list[dict[str, Any]]:
    """The quality where failed prompts are asked elsewhere, by answers to a prompt; nothing where none is measured."""
    from persyn.reporting import rerouting  # noqa: PLC0415 - scipy takes its time

    try:
        with context.engine().connect() as conn:
            plan = rerouting.plan(conn, run)
    except ConfigError:
        return []
    rows = [plan.rows[0], *(row for row in plan.rows if row.budget is not None)]
    return [{"answers": row.answers, "quality": row.quality, "of_gap": row.of_gap} for row in rows]


def _further(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Where failed prompts are asked again, on the calibration prompts", pad_edge=False)
    for column in ("answers to a prompt", "quality", "of gap"):
        table.add_column(column, justify="right")
    for row in rows:
        gap = "–" if row["of_gap"] is None else f"{row['of_gap'][0]:.0%}"
        table.add_row(f"{row['answers']:.2f}", terminal.number(row["quality"][0]), gap)
    table.caption = "Of the quality's gap, not the reward's. `persyn reroute plan` tells more."
    return table


def _methods(evaluation: dict[str, Any]) -> Table:
    table = Table(
        title=f"{terminal.safe(evaluation['run'])}: {evaluation['prompts']} validation prompts", pad_edge=False
    )
    table.add_column("chosen by", no_wrap=True)
    for column in ("reward", "of gap", "Hit@1", "Hit@3", "pairs", "regret"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in evaluation["methods"].items():
        table.add_row(
            name.replace("_", " "),
            *(terminal.number(row[key] and row[key][0]) for key in ("mean_reward", "gap_recovered")),
            *(terminal.number(row[key]) for key in ("hit_at_1", "hit_at_3", "pairwise_accuracy", "regret")),
        )
    error = evaluation["calibration"]["expected_calibration_error"]
    table.caption = (
        "of gap: of the way from the static best's reward to the oracle's. The chances that the router gives to pairs"
        f" are off by {terminal.number(error)} on average."
    )
    return table


def _intervals(evaluation: dict[str, Any]) -> Table:
    table = Table(title="Bootstrap intervals, 95%", pad_edge=False)
    table.add_column("chosen by", no_wrap=True)
    for column in ("reward", "router's reward minus it"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in evaluation["methods"].items():
        difference = evaluation["differences"].get(f"router_minus_{name}")
        shown = f"{difference[0]:+.3f} ({_interval(difference)})" if difference else ""
        reward = row["mean_reward"]
        table.add_row(name.replace("_", " "), f"{terminal.number(reward and reward[0])} ({_interval(reward)})", shown)
    return table


def _routed(run: str, metrics: dict[str, Any]) -> str:
    """The outcome of learning from routed prompts as well."""
    told = (
        f"{metrics['routed_answers']:,} measured answers to {metrics['routed_prompts']:,} routed prompts taught the"
        " router beside the calibration. "
    )
    gain = metrics["routed_gain"]
    if gain is None:
        return f"{told}No validation prompt tells what that is worth."
    change = f"by {gain[0]:+.3f} ({_interval(gain)}) on the validation prompts"
    if gain[0] <= 0:
        return (
            f"{told}It does not win: the reward of its choices changed {change}. `persyn router train"
            f" {terminal.safe(run)} --again` goes back to the calibration alone."
        )
    noise = "; the interval holds 0, so this may be noise" if gain[1] <= 0 else ""
    return f"{told}The reward of its choices changed {change}{noise}."


def _needed(evaluation: dict[str, Any]) -> str:
    """The numbers of validation prompts that would tell a lead over the static best from noise."""
    needed = evaluation["prompts_needed"]
    if any(row["prompts"] is None for row in needed):
        return "The router's lead over the static best is the same on every validation prompt, so its noise is unknown."
    leads, prompts = ([f"{row[key]:,}" for row in needed] for key in ("lead", "prompts"))
    return (
        f"A lead over the static best of {_listed(leads)} needs {_listed(prompts)} validation prompts to be told from"
        f" noise; this run has {evaluation['prompts']:,}."
    )


def _listed(values: list[str]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"


def _shares(evaluation: dict[str, Any]) -> Table:
    table = Table(title="Shares of the validation prompts", pad_edge=False)
    table.add_column("teacher")
    names = ("router", "static", "oracle")
    for column in names:
        table.add_column(column, justify="right")
    for teacher in evaluation["teachers"]:
        table.add_row(
            terminal.safe(teacher), *(f"{evaluation['methods'][name]['shares'][teacher]:.1%}" for name in names)
        )
    return table


def _curve(points: list[dict[str, Any]]) -> Table:
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


def _interval(interval: list[float] | None) -> str:
    return f"{interval[1]:.3f} to {interval[2]:.3f}" if interval else "–"
