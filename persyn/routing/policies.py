"""The routing policies: the paper's router and the baselines it is held against.

Each is a function of the prompt alone (and of what calibration measured), never of the batch or of the order in which
prompts come: two workers that route the same prompt decide the same.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.errors import ModelError

Policy = Literal["persyn", "strong", "random"]
Floats = NDArray[np.float64]


class Choice(NamedTuple):
    """For each prompt (P,) the chosen teacher's index, and by how much its coefficient leads the next one's.

    The margin is NaN under a policy that does not look at coefficients.
    """

    teacher_index: NDArray[np.intp]
    margin: Floats


def choose(
    policy: Policy,
    coefficients: Floats | None,
    *,
    calibration_quality: Floats | None,
    params_b: Sequence[float],
    seed: int,
    prompt_keys: Sequence[str],
) -> Choice:
    """Route P prompts among M teachers.

    coefficients: (P, M), for `persyn` only. calibration_quality: (C, M) raw quality, NaN where missing, for `strong`
    only. params_b: (M,) sizes. prompt_keys: (P,) one stable name a prompt, its sha256 say.
    Raises ModelError if a coefficient is not finite.
    """
    if policy == "persyn":
        if coefficients is None or coefficients.shape != (len(prompt_keys), len(params_b)):
            raise ValueError("the policy persyn needs one coefficient per prompt and teacher")
        return _highest(coefficients)
    if policy == "strong":
        if calibration_quality is None or calibration_quality.shape[1:] != (len(params_b),):
            raise ValueError("the policy strong needs the calibration set's quality, one column per teacher")
        index = np.full(len(prompt_keys), strongest(calibration_quality, params_b), dtype=np.intp)
    else:
        index = np.array([_draw(seed, key, len(params_b)) for key in prompt_keys], dtype=np.intp)
    return Choice(index, np.full(len(prompt_keys), np.nan))


def strongest(calibration_quality: Floats, params_b: Sequence[float]) -> int:
    """The teacher with the highest mean quality; of equals the larger, then the first.

    A teacher without a single score comes last.
    """
    present = ~np.isnan(calibration_quality)
    count = present.sum(axis=0)
    total = np.where(present, calibration_quality, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
    return max(range(len(params_b)), key=lambda teacher: (mean[teacher], params_b[teacher], -teacher))


def _highest(coefficients: Floats) -> Choice:
    if not np.isfinite(coefficients).all():
        raise ModelError("The router gave a coefficient that is not finite. Train it again, at a lower learning rate.")
    index = coefficients.argmax(axis=1)  # the first of equals
    two = np.partition(coefficients, -2, axis=1)[:, -2:]
    return Choice(index, two[:, 1] - two[:, 0])


def _draw(seed: int, key: str, teachers: int) -> int:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % teachers
