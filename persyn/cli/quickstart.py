"""`persyn quickstart`: the whole of Route then Generate on real models, small enough for two CPU cores."""

import shutil
import time
from importlib import resources
from pathlib import Path

from persyn import reporting, runs
from persyn.cli import context, export, run, terminal
from persyn.config import Settings, load_run
from persyn.imports.prompts import import_prompts
from persyn.states import Stage

RUN = "quickstart"


def quickstart() -> None:
    """Run Route then Generate end to end on the bundled prompts and models."""
    began = time.monotonic()
    examples = _unpack(Settings.from_environment().home / "examples")
    config = load_run(examples / "quickstart.yaml")
    engine = context.engine(may_begin=True)
    terminal.err.print("Postgres and the broker run. Importing the prompts.")
    import_prompts(engine, config.prompts, [str(examples / "arithmetic.jsonl")])
    with engine.begin() as conn:
        run_id = runs.create(conn, config)
        done = runs.load(conn, run_id).finished
    if done:
        terminal.err.print("All is done already: nothing is generated again.")
    else:
        terminal.err.print("Starting a worker; its vLLM server needs about a minute to come up.")
        run.finish(engine, run_id, Stage.GENERATE, with_worker=True)
    run.report(engine, run_id)
    export.write(engine, run_id)
    with engine.connect() as conn:
        example = reporting.a_routed_prompt(conn, run_id)
    lines = (
        f"This call took {time.monotonic() - began:.0f} s. Worth typing next:",
        f"  persyn audit prompt {RUN} {example}   why this prompt's row is as it is",
        "  persyn services psql   every decision, score and event, in SQL",
        "  persyn init my-run.yaml   a run on your own prompts, student and teachers",
    )
    terminal.console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _unpack(folder: Path) -> Path:
    """The bundled examples as files that a user can look at."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("arithmetic.jsonl", "quickstart.yaml"):
        with resources.as_file(resources.files("persyn.cli") / "templates" / name) as source:
            shutil.copyfile(source, folder / name)
    return folder
