"""The terminal: its consoles, tables and bars. Text of models and users is escaped by `safe` before it is printed."""

import logging
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from persyn import logs
from persyn.reporting import RunStatus, Summary, Verdicts
from persyn.rewards.combine import DegenerateCounts

log = logging.getLogger(__name__)

console = Console()
err = Console(stderr=True)


class ShowProgress(Protocol):
    def __call__(self, what: str, done: int, unit: str, share: float | None) -> None:
        """`done` of the unit are done, which is this share of all, None where that is unknown."""


@contextmanager
def progress() -> Iterator[ShowProgress]:
    """Progress bars on standard error, where that is a terminal: one for each thing that is done, with its rate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}, {task.fields[rate]:,.1f}/s"),
        TimeRemainingColumn(),
    )
    # Made here, so that it writes to what standard error is now.
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bars:
        tasks: dict[str, tuple[TaskID, float]] = {}

        def show(what: str, done: int, unit: str, share: float | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None, unit=unit, rate=0.0), time.monotonic()
            task, began = tasks[what]
            rate = done / max(time.monotonic() - began, 1e-9)
            bars.update(task, completed=done, total=done / share if share else None, unit=unit, rate=rate)

        yield show


def safe(text: str, limit: int = 2000) -> str:
    """Untrusted text for a terminal: control characters, ANSI escapes among them, shown and not obeyed."""
    shown = "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else f"\\x{ord(char):02x}"
        for char in text[:limit]
    )
    return escape(shown + ("…" if len(text) > limit else ""))


def tell(line: str, markup: str) -> None:
    """Say on standard error what happened: as `markup` for people, as `line` where the log is JSON."""
    if logs.is_json():
        log.info("%s", line)
    else:
        err.print(markup, emoji=False)


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def status_table(status: RunStatus) -> Table:
    """The stages of a run, with its state and the reason for it."""
    table = Table(title=f"Run {status.name} ({status.state}): {status.prompts} prompts, {status.decided} routed")
    table.caption, table.caption_justify = safe(status.reason), "left"
    table.add_column("stage")
    for column in ("total", "ready", "leased", "done", "dead", "cancelled"):
        table.add_column(column, justify="right")
    for stage in status.stages:
        counts = (stage.total, stage.ready, stage.leased, stage.done, stage.dead, stage.cancelled)
        table.add_row(stage.stage, *(str(count) for count in counts), style="red" if stage.dead else None)
    return table


def summary_tables(summary: Summary) -> list[Table]:
    teachers = Table(title="Teachers", pad_edge=False)
    teachers.add_column("teacher")
    rerouted = any(teacher.rerouted for teacher in summary.teachers)
    opinions = any(teacher.opinions for teacher in summary.teachers)
    for column in (
        "prompts",
        *(["opinions"] if opinions else []),
        "made",
        "reused",
        "tokens",
        "quality",
        "learnability",
    ):
        teachers.add_column(column, justify="right", no_wrap=True)
    for teacher in summary.teachers:
        prompts = f"{teacher.prompts} +{teacher.rerouted}" if rerouted else str(teacher.prompts)
        counts = (teacher.generated, teacher.reused, teacher.completion_tokens)
        second = [str(teacher.opinions)] if opinions else []
        cells = [prompts, *second, *map(str, counts), number(teacher.quality), number(teacher.learnability)]
        teachers.add_row(safe(teacher.teacher), *cells)
    teachers.add_section()
    for label, mean in (
        ("chosen, calibrated", summary.calibration),
        ("chosen, routed", summary.routed),
        *([("first, routed", summary.first)] if summary.first else []),
    ):
        empty = [""] * (4 if opinions else 3)
        teachers.add_row(label, str(mean.prompts), *empty, number(mean.quality), number(mean.learnability))
    teachers.caption = (
        "A teacher's quality and learnability are its means on the calibration set."
        + (" After +: prompts that came to it because another had failed." if rerouted else "")
        + (" Opinions: prompts of others that it answers too." if opinions else "")
    )
    return [teachers, _run_table(summary)]


def degenerate_line(flat: DegenerateCounts) -> str:
    return (
        f"Of {flat.prompts} calibration prompts all teachers are equal in quality on {flat.quality}, in learnability"
        f" on {flat.learnability} (there the other score decides), in reward on {flat.reward} (they teach nothing)."
    )


def guesses_line(verdicts: Verdicts) -> str:
    kinds = ", ".join(f"{number:,} {basis}" for basis, number in verdicts.guessed.items())
    guessed = sum(verdicts.guessed.values())
    return f"Of {verdicts.total:,} verdicts of math_verify {guessed:,} rest on a guess: {kinds} (score.detail, basis)."


def late_scores_line(number: int) -> str:
    scores = "1 calibration score" if number == 1 else f"{number:,} calibration scores"
    return (
        f"{scores} came after the router was trained, and taught it nothing. `persyn router train RUN --again` trains"
        " it anew, for prompts that are still to be routed."
    )


def _run_table(summary: Summary) -> Table:
    table = Table(title="Run", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    share = summary.generated / summary.full if summary.full else 0.0
    table.add_row("prompts", str(summary.prompts))
    if summary.explored:
        part = f"{summary.explored} of {summary.decided} ({summary.explored / summary.decided:.1%})"
        table.add_row("teacher drawn at random, of those routed", part)
    table.add_row("generations made, against N·M", f"{summary.generated} of {summary.full} ({share:.0%})")
    metrics = summary.metrics or {}
    for label, key in (("Hit@1", "hit_at_1"), ("Hit@3", "hit_at_3"), ("regret", "regret")):
        if key in metrics:
            static = number(metrics.get(f"static_{key}"))
            table.add_row(f"router {label}, validation (static best)", f"{number(metrics[key])} ({static})")
    if summary.elapsed_s is not None:
        table.add_row("elapsed", f"{summary.elapsed_s:.0f} s")
    return table
