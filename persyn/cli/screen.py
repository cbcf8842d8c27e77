"""Shows how far a run is: bars at a terminal, and a line a minute where the output goes to a file."""

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from persyn import logs, reporting
from persyn.cli import terminal
from persyn.driving.follow import Screen
from persyn.stages.route import WHOLE_SET
from persyn.states import Stage

LINE_EVERY_S = 60.0

log = logging.getLogger(__name__)


@contextmanager
def screen() -> Iterator[Screen]:
    """The one that fits standard error."""
    if logs.is_json() or not terminal.err.is_terminal:
        yield Lines()
        return
    with Live(console=terminal.err, refresh_per_second=4) as live:
        yield Bars(live)


def done_of(stage: reporting.StageStatus, status: reporting.RunStatus) -> tuple[int, int]:
    """The part of a stage that is done, and the whole. Routing counts its decisions, unless they come all at once."""
    if stage.stage == reporting.STAGE_NAMES[Stage.ROUTE] and status.policy not in WHOLE_SET:
        return status.decided, status.prompts
    return stage.done, stage.total - stage.cancelled


def losses(stage: reporting.StageStatus) -> str:
    """The jobs of a stage that will not be done as things stand: `3 dead, 2 cancelled`."""
    counts = ((stage.dead, "dead"), (stage.cancelled, "cancelled"))
    return ", ".join(f"{number:,} {state}" for number, state in counts if number)


class Bars:
    """A bar for each stage, and the notes below."""

    def __init__(self, live: Live) -> None:
        self._live = live
        # Answers come in batches, minutes apart on a small machine: a short window would show no rate at all.
        self._progress = Progress(
            TextColumn("{task.description:<13}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("[red]{task.fields[losses]}[/red]"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
            TimeRemainingColumn(), speed_estimate_period=600.0,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def show(self, status: reporting.RunStatus, notes: Sequence[str]) -> None:
        for stage in status.stages:
            done, total = done_of(stage, status)
            if stage.stage not in self._tasks:
                self._tasks[stage.stage] = self._progress.add_task(stage.stage, total=total, rate="", losses="")
            task_id = self._tasks[stage.stage]
            task = self._progress.tasks[self._progress.task_ids.index(task_id)]
            speed = task.finished_speed or task.speed
            rate = f"{speed:.1f}/s" if speed else ""
            self._progress.update(task_id, completed=done, total=total, rate=rate, losses=losses(stage))
        below = [Text.from_markup(terminal.safe(note), style="yellow", emoji=False) for note in notes]
        self._live.update(Group(self._progress, *below))

    def say(self, line: str) -> None:
        terminal.err.print(terminal.safe(line), highlight=False, emoji=False)


class Lines:
    """A line at once, one whenever something new holds the run up or a stage begins, and one a minute."""

    def __init__(self) -> None:
        self._stages = -1
        self._at = 0.0
        self._told: dict[str, float] = {}

    def show(self, status: reporting.RunStatus, notes: Sequence[str]) -> None:
        now = time.monotonic()
        new = [note for note in notes if now - self._told.get(_gist(note), -LINE_EVERY_S) >= LINE_EVERY_S]
        due = now - self._at >= LINE_EVERY_S or status.ended or len(status.stages) != self._stages
        if not new and not due:
            return
        self._stages, self._at = len(status.stages), now
        self.say(summary(status))
        for note in new:
            self._told[_gist(note)] = now
            self.say(f"  {note}")

    def say(self, line: str) -> None:
        if logs.is_json():
            log.info("action=follow %s", line)
            return
        stamp = f"{datetime.now(UTC):%H:%M:%S} "
        terminal.err.print(stamp + terminal.safe(line), highlight=False, emoji=False, soft_wrap=True)


def _gist(note: str) -> str:
    """The note without its numbers: a pause that is prolonged again and again is told once a minute."""
    return re.sub(r"\d+", "", note)


def summary(status: reporting.RunStatus) -> str:
    """`run shop: calibrate 60/60, score 12/120 (3 dead)`."""
    parts = []
    for stage in status.stages:
        done, total = done_of(stage, status)
        lost = losses(stage)
        parts.append(f"{stage.stage} {done:,}/{total:,}" + (f" ({lost})" if lost else ""))
    return f"run {status.name} ({status.state}): " + (", ".join(parts) or "no jobs yet")
