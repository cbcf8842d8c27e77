"""What runs look like from outside. Reads only."""

from persyn.reporting.prompts import Decision, decision
from persyn.reporting.runs import (
    STAGE_NAMES,
    Mean,
    RunStatus,
    StageStatus,
    Summary,
    TeacherResult,
    TrailStep,
    a_routed_prompt,
    failures,
    find_prompt,
    integrity,
    prompt_messages,
    runs,
    status,
    summary,
    trail,
)

__all__ = [
    "STAGE_NAMES", "Decision", "Mean", "RunStatus", "StageStatus", "Summary", "TeacherResult", "TrailStep",
    "a_routed_prompt", "decision", "failures", "find_prompt", "integrity", "prompt_messages", "runs", "status",
    "summary", "trail",
]  # fmt: skip
