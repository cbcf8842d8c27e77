"""Questions to the scores that a run has stored. Reads only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from persyn import runs
from persyn.errors import NotFound
from persyn.rewards import matrix
from persyn.rewards.combine import DegenerateCounts, Normalisation, count_degenerate
from persyn.rewards.sweep import Sweep, sweep


class AlphaSweep(NamedTuple):
    """The best measured answers of a run at several α."""

    run: str
    alpha: float  # the run's own
    normalisation: Normalisation
    teachers: list[str]  # in coefficient order
    sweep: Sweep

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "alpha": self.alpha,
            "normalisation": self.normalisation,
            "teachers": self.teachers,
            **self.sweep._asdict(),
            "points": [point._asdict() for point in self.sweep.points],
        }


def alpha_sweep(
    conn: Connection, run: str, alphas: Sequence[float], normalisation: Normalisation | None = None
) -> AlphaSweep:
    """`normalisation` None is the run's own. Raises NotFound, also where no prompt offers a choice."""
    loaded = runs.load(conn, runs.find(conn, run))
    measured = matrix.load(conn, loaded.id, loaded.config)
    how = normalisation or loaded.config.normalisation
    result = sweep(measured.quality, measured.learnability, alphas, how)
    if not result.points:
        raise NotFound(
            f"Run {loaded.name} has no calibration prompt with two answers that have both quality and learnability."
            f" `persyn score {loaded.name}` makes the scores; `persyn status {loaded.name}` shows how far they are."
        )
    teachers = [teacher.name for teacher in loaded.config.teachers]
    return AlphaSweep(loaded.name, loaded.config.alpha, how, teachers, result)


def degenerate_prompts(conn: Connection, run_id: int) -> DegenerateCounts:
    """The number of the run's calibration prompts that tell nothing. Raises NotFound."""
    measured = matrix.load(conn, run_id, runs.load(conn, run_id).config)
    return count_degenerate(measured.quality, measured.learnability, measured.reward)
