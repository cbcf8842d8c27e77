"""Preferences from answers to routed prompts: one teacher answered, because a policy chose it, and the others did not.

The prompt's first answer is held against what calibration expects of every other teacher there: its mean value on the
nearest calibration prompts, or the measured value where a further attempt gave one. A further answer is measured only
where the first one failed; alone, such pairs would say that the routed teacher always loses. So the first answer counts
against all others on every prompt, whatever came of it, and further answers count against the first one alone.

A routed prompt counts by 1 / the probability with which its teacher was chosen: the loss is then that of teachers that
were chosen evenly (inverse propensity weighting; Swaminathan and Joachims, arXiv 1502.02362). The weight is clipped,
because one rare draw would else outweigh hundreds of prompts; clipping leaves some of the policy's own preference in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.chat import Messages
from persyn.config import Preferences
from persyn.router.kernel_features import Features
from persyn.router.neighbours import mean_of_nearest, near_enough
from persyn.router.preferences import Pairs, pairs, typical_gap

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

HEAVIEST = 10.0  # the weight of one routed prompt, at most
CHUNK = 1024  # prompts whose neighbours are read at once


class RoutedAnswers(NamedTuple):
    """Q routed prompts with measured answers of some of M teachers, and the calibration answers on the same scale."""

    prompts: Sequence[Messages]  # (Q,)
    values: Floats  # (Q, M), NaN where no answer was measured
    first: Indices  # (Q,) the teacher that the prompt was routed to
    probability: Floats  # (Q,) with which that teacher was chosen
    calibration: Floats  # (P, M), of all calibration prompts


class Routed(NamedTuple):
    """The same as a head reads it, beside the calibration prompts that it learns from."""

    vectors: Floats  # (Q, D)
    answers: RoutedAnswers

    def beside(self, rows: Sequence[int] | Indices) -> "Routed":
        """With these calibration prompts alone."""
        return self._replace(answers=self.answers._replace(calibration=self.answers.calibration[rows]))

    def preferences(self, features: Features, vectors: Floats, rewards: Floats, preferences: Preferences) -> Pairs:
        """The pairs of the routed prompts; vectors (P, D) and rewards (P, M) are those of the calibration prompts."""
        answers = self.answers
        expected = self._expected(features, vectors)
        scale = typical_gap(rewards) / typical_gap(answers.calibration)  # so that a pair weighs as in calibration
        found = pairs(np.where(np.isnan(answers.values), expected, answers.values) * scale, **preferences.model_dump())
        one, other = np.triu_indices(rewards.shape[1], k=1)
        first = answers.first[:, None]
        importance = np.minimum(1.0 / answers.probability, HEAVIEST)
        weight = found.weight * ((one == first) | (other == first)) * importance[:, None]
        return found._replace(weight=weight, preferences=int((weight > 0).sum()))

    def _expected(self, features: Features, vectors: Floats) -> Floats:
        """(Q, M): each teacher's mean value on the nearest calibration prompts."""
        known, count = features.unit(vectors), near_enough(len(vectors))
        chunks = [
            mean_of_nearest(features.unit(self.vectors[at : at + CHUNK]), known, self.answers.calibration, count)
            for at in range(0, len(self.vectors), CHUNK)
        ]
        return np.vstack(chunks)
