"""Runs and prompts as people see them. Reads only.

`router` and `plots` stand apart: they load torch and matplotlib.
"""

from persyn.reporting.prompts import DecisionReport, PromptTrail, TrailStep, a_routed_prompt, prompt_trail
from persyn.reporting.rewards import AlphaSweep, alpha_sweep, degenerate_prompts
from persyn.reporting.runs import (
    STAGE_NAMES,
    Mean,
    RunStatus,
    StageStatus,
    Summary,
    TeacherResult,
    failures,
    integrity,
    runs,
    status,
    summary,
)

__all__ = [
    "STAGE_NAMES", "AlphaSweep", "DecisionReport", "Mean", "PromptTrail", "RunStatus", "StageStatus", "Summary",
    "TeacherResult", "TrailStep", "a_routed_prompt", "alpha_sweep", "degenerate_prompts", "failures", "integrity",
    "prompt_trail", "runs", "status", "summary",
]  # fmt: skip
