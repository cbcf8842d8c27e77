"""Runs and prompts as people see them. Reads only.

`router` and `plots` stand apart: they load torch and matplotlib.
"""

from persyn.reporting.hold_ups import HoldUp, pause_sentence, why_waiting
from persyn.reporting.outcome import Outcome, outcome
from persyn.reporting.prompts import DecisionReport, PromptTrail, Sample, TrailStep, a_routed_prompt, prompt_trail
from persyn.reporting.rewards import AlphaSweep, alpha_sweep, degenerate_prompts
from persyn.reporting.runs import (
    STAGE_NAMES,
    Mean,
    RunStatus,
    StageStatus,
    Summary,
    TeacherResult,
    Verdicts,
    failures,
    integrity,
    runs,
    status,
    summary,
)
from persyn.reporting.students import TrainingReport, students

__all__ = [
    "STAGE_NAMES", "AlphaSweep", "DecisionReport", "HoldUp", "Mean", "Outcome", "PromptTrail", "RunStatus",
    "Sample", "StageStatus", "Summary", "TeacherResult", "TrailStep", "TrainingReport", "Verdicts", "a_routed_prompt",
    "alpha_sweep", "degenerate_prompts", "failures", "integrity", "outcome", "pause_sentence", "prompt_trail", "runs",
    "status", "students", "summary", "why_waiting",
]  # fmt: skip
