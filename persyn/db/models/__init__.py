"""The tables. Constraints and partial indexes carry the rules, so that no code path can break them.

Text lives in `prompt` and `generation` only.
"""

from persyn.db.models.base import Base
from persyn.db.models.queue import Job
from persyn.db.models.results import Generation
from persyn.db.models.runs import Run
from persyn.db.models.students import StudentModel

__all__ = ["Base", "Generation", "Job", "Run", "StudentModel"]
