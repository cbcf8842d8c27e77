"""What calibration measured, as matrices: prompts down, teachers across, NaN where a score is missing.

Only raw values are stored; normalising and α are applied here, at reading, so that both are questions and not re-runs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn.config import RunConfig
from persyn.rewards.combine import combine

Floats = NDArray[np.float64]

_SCORES = text("""
SELECT c.prompt_id, rt.position, q.value AS quality, l.value AS learnability
FROM calibration_prompt c
JOIN run r ON r.id = c.run_id
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
LEFT JOIN score q ON q.generation_id = g.id AND q.scorer_id = r.quality_scorer_id
LEFT JOIN score l ON l.generation_id = g.id AND l.scorer_id = r.learnability_scorer_id
WHERE c.run_id = :run_id
""")

_PROMPTS = text("""
SELECT c.prompt_id, c.split, p.messages
FROM calibration_prompt c JOIN prompt p ON p.id = c.prompt_id
WHERE c.run_id = :run_id ORDER BY c.prompt_id
""")


class Measured(NamedTuple):
    """The calibration set: C prompts, M teachers in coefficient order."""

    prompt_ids: list[int]  # (C,)
    messages: list[list[dict[str, str]]]  # (C,)
    train: NDArray[np.intp]  # rows that the router may learn from
    validation: NDArray[np.intp]  # rows that it is tested on
    quality: Floats  # (C, M), raw
    learnability: Floats  # (C, M), raw: nats per token
    reward: Floats  # (C, M), combined


def load(conn: Connection, run_id: int, config: RunConfig) -> Measured:
    prompts = conn.execute(_PROMPTS, {"run_id": run_id}).all()
    row_of = {prompt.prompt_id: row for row, prompt in enumerate(prompts)}
    quality = np.full((len(prompts), len(config.teachers)), np.nan)
    learnability = quality.copy()
    for score in conn.execute(_SCORES, {"run_id": run_id}):
        place = row_of[score.prompt_id], score.position
        quality[place] = np.nan if score.quality is None else score.quality
        learnability[place] = np.nan if score.learnability is None else score.learnability
    validation = np.array([prompt.split == "validation" for prompt in prompts], dtype=bool)
    return Measured(
        prompt_ids=[prompt.prompt_id for prompt in prompts],
        messages=[prompt.messages for prompt in prompts],
        train=np.flatnonzero(~validation),
        validation=np.flatnonzero(validation),
        quality=quality,
        learnability=learnability,
        reward=combine(quality, learnability, config.alpha, config.normalisation),
    )
