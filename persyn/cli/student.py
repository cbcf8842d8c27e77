"""`persyn student`: train a run's student on its set, examine it, list what was trained, take it away as a folder."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persyn import reporting, runs
from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName, WithWorker
from persyn.cli.run import finish
from persyn.config import Settings
from persyn.driving import examining, exporting, students
from persyn.reporting import examinations
from persyn.stages import train_student
from persyn.stages.train_student import Asked
from persyn.states import JobState, Stage

app = typer.Typer(no_args_is_help=True, help="Train a run's student on its set, examine it, and take it away.")


@app.command()
def train(
    run: RunName,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Learn another policy's choices, as far as answers exist.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="In place of student.training.seed.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Train on what is there, though answers are missing.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Train it anew, where its files are lost.")] = False,
) -> None:
    """Ask for a training of the run's student on the answers that an export would hold; workers do it."""
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
    asked = train_student.enqueue(
        engine, run_id, exporting.known_policy(policy), seed, partial=partial, again=again
    )  # fmt: skip
    for line in _sentences(asked):
        terminal.console.print(terminal.safe(line), soft_wrap=True, highlight=False)


def _sentences(asked: Asked) -> list[str]:
    whose = f"by the policy {asked.policy}, seed {asked.seed}"
    if not asked.is_new:
        match asked.job_state:
            case JobState.DONE:
                return [f"Student {asked.model_id} was trained on these answers already, {whose}; nothing is done."]
            case JobState.DEAD | JobState.CANCELLED:
                ways = f"`persyn jobs show {asked.job_id}` says why, and `persyn jobs retry {asked.job_id}` tries again"
                if asked.job_state == JobState.CANCELLED:
                    ways = "`persyn runs resume` gives a run's cancelled jobs back"
                return [
                    f"This training was asked for before, {whose}, and job {asked.job_id} is {asked.job_state}. {ways}."
                ]
        return [f"This training was asked for before, {whose}; job {asked.job_id} is {asked.job_state}."]
    left = [f"{number:,} {reason}" for reason, number in sorted((asked.left_out | asked.missing).items())]
    without = f" Without a row: {', '.join(left)}." if left else ""
    return [
        f"Job {asked.job_id} trains the student on {asked.answers:,} answers, {whose}.{without}",
        "A worker with --trainers or --all does it, and `persyn student list` shows it.",
    ]


@app.command()
def examine(
    run: RunName,
    prompts: Annotated[
        str, typer.Option("--prompts", metavar="SET", help="Problems that no student has seen, as a prompt set.")
    ],
    student: Annotated[
        list[int] | None, typer.Option("--student", metavar="ID", help="Only this one; may be given several times.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="The limit of an answer; 1024 by default.")
    ] = None,
    with_worker: WithWorker = False,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Examine though problems are like what was learnt.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="First give dead jobs a fresh start.")] = False,
    as_json: Json = False,
) -> None:
    """Let the run's trained students and their base answer a set of problems, and score the answers."""
    engine = context.engine()
    planned = examining.plan(engine, run, prompts, student or (), max_tokens, allow_leaks=allow_leaks)
    run_ids = {one.model_id: examining.begin(engine, one) for one in planned}
    for one in planned:
        terminal.err.print(f"Student {one.model_id} is examined as run {one.config.name}.", highlight=False)
        finish(engine, run_ids[one.model_id], Stage.SCORE, with_worker=with_worker, retry=retry)
    with engine.connect() as conn:
        results = [examinations.examined(conn, one.model_id, prompts, run_ids[one.model_id]) for one in planned]
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in results], indent=2))
        return
    for result in results:
        terminal.console.print(terminal.safe(result.sentence()), soft_wrap=True, highlight=False)
    terminal.console.print(f"`persyn compare {run} --prompts {prompts}` compares them.", highlight=False)


@app.command("list")
def list_students(run: RunName, as_json: Json = False) -> None:
    """List the run's trained students and the trainings that wait or failed."""
    with context.engine().connect() as conn:
        found = reporting.students(conn, runs.find(conn, run))
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    if not found:
        terminal.console.print("No training was asked for. `persyn student train` asks for one.", highlight=False)
        return
    table = Table("student", "policy", "seed", "rows", "tokens", "loss", "state", pad_edge=False)
    for one in found:
        loss = None if one.final_loss is None else terminal.number(one.final_loss)
        cells = (one.model_id, one.policy, one.seed, one.rows, one.tokens, loss, one.state.partition(":")[0])
        table.add_row(*("–" if cell is None else terminal.safe(str(cell)) for cell in cells))
    terminal.console.print(table)
    for one in found:
        if one.job_state == "dead":
            _tell(f"Job {one.job_id} is {one.state}")
        elif one.artifact_place == "host":
            _tell(f"Student {one.model_id} lies in {one.artifact_path} on {one.host} alone.")


def _tell(line: str) -> None:
    terminal.console.print(terminal.safe(line, 600), soft_wrap=True, highlight=False)


@app.command()
def save(
    student: Annotated[int, typer.Argument(metavar="STUDENT", help="Its number in `persyn student list`.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; it must not exist.")],
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Leave LoRA's matrices apart from the base's weights.")
    ] = False,
) -> None:
    """Write a trained student as a folder that transformers and vLLM load."""
    students.save(context.engine(), student, Settings.from_environment().home, folder, adapter=adapter)
    terminal.console.print(
        f"Student {student} is in {terminal.safe(str(folder))}", soft_wrap=True, highlight=False
    )  # fmt: skip
