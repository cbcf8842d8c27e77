"""The rewards measured on single calibration prompts, which taught the router near a prompt that it routed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn.config import RunConfig
from persyn.rewards import matrix


class TeacherReward(NamedTuple):
    """Raw scores and the combined reward of one answer; None where missing."""

    teacher: str
    quality: float | None
    learnability: float | None
    reward: float | None


class Neighbour(NamedTuple):
    prompt_id: int
    external_id: str | None
    messages: list[dict[str, str]]
    teachers: list[TeacherReward]  # in coefficient order

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"teachers": [teacher._asdict() for teacher in self.teachers]}


def measured_on(conn: Connection, run_id: int, config: RunConfig, prompt_ids: Sequence[int]) -> list[Neighbour]:
    """These calibration prompts of the run, in the order given; those that it did not calibrate are left out."""
    if not prompt_ids:
        return []
    measured = matrix.load(conn, run_id, config)
    rows = {prompt_id: row for row, prompt_id in enumerate(measured.prompt_ids)}
    prompts = conn.execute(text("SELECT id, external_id FROM prompt WHERE id = ANY(:ids)"), {"ids": list(prompt_ids)})
    external = {prompt.id: prompt.external_id for prompt in prompts}
    names = [teacher.name for teacher in config.teachers]
    return [
        Neighbour(prompt_id, external[prompt_id], measured.messages[row], _teachers(names, measured, row))
        for prompt_id in prompt_ids
        if (row := rows.get(prompt_id)) is not None
    ]


def _teachers(names: list[str], measured: matrix.CalibrationScores, row: int) -> list[TeacherReward]:
    columns = (measured.quality[row], measured.learnability[row], measured.reward[row])
    return [TeacherReward(name, *(_number(values, place) for values in columns)) for place, name in enumerate(names)]


def _number(values: NDArray[np.float64], place: int) -> float | None:
    return None if np.isnan(values[place]) else float(values[place])
