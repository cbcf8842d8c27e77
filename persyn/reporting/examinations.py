"""The answers of examinations, problem by problem, for trained students and for their base. Reads only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn import runs
from persyn.exports.leaks import leaks

Floats = NDArray[np.float64]

# Finished ones alone: of the others nobody knows which problems are still to come. position 0 is the base.
_ANSWERS = text("""
SELECT m.id AS model_id, rt.position, c.prompt_id, a.quality, a.completion_tokens,
       lower(a.finish_reason) IN ('length', 'max_tokens', 'model_length') AS cut,
       (SELECT x.detail ->> 'basis' = 'nothing' FROM run_scorer rs
        JOIN scorer s ON s.id = rs.scorer_id AND s.method = 'math_verify'
        JOIN score x ON x.scorer_id = s.id AND x.generation_id = a.generation_id
        WHERE rs.run_id = r.id LIMIT 1) AS unparsed
FROM student_model m
JOIN prompt_set s ON s.name = :prompts
JOIN run r ON r.prompt_set_id = s.id AND r.name = left('student-' || m.id || '.' || s.name, 63)
JOIN run_teacher rt ON rt.run_id = r.id
JOIN calibration_prompt c ON c.run_id = r.id
LEFT JOIN audit.answer a ON a.run_id = r.id AND a.prompt_id = c.prompt_id AND a.teacher_id = rt.teacher_id
                        AND a.sample_index = 0
WHERE m.id = ANY(:model_ids) AND r.finished_at IS NOT NULL AND EXISTS (
    SELECT FROM run_teacher own JOIN teacher t ON t.id = own.teacher_id
    WHERE own.run_id = r.id AND own.position = 1 AND t.revision = m.artifact_sha256)
ORDER BY m.id, rt.position, c.prompt_id
""")

_SETS = text("""
SELECT DISTINCT s.name FROM student_model m CROSS JOIN prompt_set s
JOIN run r ON r.prompt_set_id = s.id AND r.name = left('student-' || m.id || '.' || s.name, 63)
WHERE m.id = ANY(:model_ids) AND r.finished_at IS NOT NULL ORDER BY s.name
""")


class Paper(NamedTuple):
    """The answers of one student to a set of problems; of each problem the raw quality, NaN where it is not known."""

    quality: dict[int, float]  # by prompt id
    mean_tokens: float | None
    cut: float  # share of the answers that ended at the limit of tokens
    unparsed: float | None  # share in which math_verify found no final answer; None without it

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Paper":
        """From the rows of one student, a problem each."""
        tokens = [row.completion_tokens for row in rows if row.completion_tokens is not None]
        cut = [row.cut for row in rows if row.cut is not None]
        unparsed = [row.unparsed for row in rows if row.unparsed is not None]
        return cls(
            {row.prompt_id: float("nan") if row.quality is None else float(row.quality) for row in rows},
            float(np.mean(tokens)) if tokens else None,
            float(np.mean(cut)) if cut else 0.0,
            float(np.mean(unparsed)) if unparsed else None,
        )

    @property
    def unanswered(self) -> int:
        """The number of problems without a measured answer."""
        return sum(value != value for value in self.quality.values())


class Papers(NamedTuple):
    """The papers on one set."""

    base: Paper | None
    students: dict[int, Paper]


def papers(conn: Connection, prompts: str, model_ids: Sequence[int]) -> Papers:
    """The papers of those students whose examination on the set is finished, and their base's."""
    rows: dict[tuple[int, int], list[Any]] = {}
    for row in conn.execute(_ANSWERS, {"prompts": prompts, "model_ids": list(model_ids)}):
        rows.setdefault((row.position, row.model_id), []).append(row)
    made = {key: Paper.of(found) for key, found in rows.items()}
    bases = [paper for (position, _), paper in made.items() if position == 0]
    base = max(bases, key=lambda paper: len(paper.quality), default=None)
    return Papers(base, {model_id: paper for (position, model_id), paper in made.items() if position == 1})


def sets(conn: Connection, model_ids: Sequence[int]) -> list[str]:
    """The sets on which any of the students was examined."""
    return list(conn.execute(_SETS, {"model_ids": list(model_ids)}).scalars())


def values(paper: Paper, problems: Sequence[int], missing: float) -> Floats:
    """(P,) the quality on these problems; one without a measured answer counts as `missing`."""
    found = np.array([paper.quality.get(problem, np.nan) for problem in problems])
    return np.where(np.isnan(found), missing, found)


class Examined(NamedTuple):
    """The outcome of one examination, in short."""

    model_id: int
    prompts: str
    problems: int
    is_share: bool  # whether the results are shares that are right, else mean qualities
    result: float | None
    base: float | None
    unanswered: int
    leaks: int

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

    def sentence(self) -> str:
        """For a person."""
        if self.result is None or self.base is None:
            return f"Student {self.model_id}: no answer on {self.prompts} was measured."
        shown = "{:.1%} right".format if self.is_share else "a mean quality of {:.3g}".format
        told = (
            f"Student {self.model_id}: {shown(self.result)} on {self.problems:,} problems of {self.prompts}; the base"
            f" {shown(self.base)}."
        )
        if self.unanswered:
            counts = "wrong" if self.is_share else "the lowest quality"
            told += f" {self.unanswered:,} problems have no measured answer and count as {counts}."
        if self.leaks:
            told += f" {self.leaks:,} problems are like what it learnt."
        return told


def examined(conn: Connection, model_id: int, prompts: str, run_id: int) -> Examined:
    """The outcome of a finished examination, whose run is `run_id`."""
    run = runs.load(conn, run_id)
    found = papers(conn, prompts, [model_id])
    paper, is_share = found.students.get(model_id), run.config.is_checked
    leaked = len(leaks(conn, run.prompt_set_id, [model_id])[model_id])
    if paper is None or found.base is None:
        return Examined(model_id, prompts, 0, is_share, None, None, 0, leaked)
    problems, missing = list(paper.quality), worst([paper, found.base], is_share=is_share)
    if np.isnan(missing):
        return Examined(model_id, prompts, len(problems), is_share, None, None, paper.unanswered, leaked)
    result, base = (float(values(one, problems, missing).mean()) for one in (paper, found.base))
    return Examined(model_id, prompts, len(problems), is_share, result, base, paper.unanswered, leaked)


def worst(found: Sequence[Paper], *, is_share: bool) -> float:
    """The value of a problem without a measured answer: wrong, or the lowest quality among these; NaN without any."""
    known = [value for paper in found for value in paper.quality.values() if value == value]
    return 0.0 if is_share and known else min(known, default=float("nan"))
