"""The look before the jump: whether a run could start, and what it would ask for, before anything is spent.

`check` asks the tables, this host and each endpoint once, and changes nothing.
"""

from persyn.preflight.rehearsal import check, has_begun
from persyn.preflight.report import Finding, Report, StageEstimate, WorkerNeed

__all__ = ["Finding", "Report", "StageEstimate", "WorkerNeed", "check", "has_begun"]
