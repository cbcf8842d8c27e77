"""The queue's statements, each a whole one in a file of its own under sql/.

A file's header says what the statement does, who calls it and which index serves it. A file runs in psql as it stands,
with a variable set for each `:name`; a test lets Postgres explain every one.

A change of state is one statement: it writes `job`, the event that says so, and `job_count`, so that no crash can leave
one without the other. Postgres is asked for what it can answer from one of two small indexes, whatever the table holds:
`ix_job_ready` lists the jobs that wait, lane by lane, and `ix_job_suspect` the few that were lost too often and run
alone. The statements spell out the number of losses that divides the two, protocol.ALONE_AFTER_LOSSES: Postgres would
not see that the index applies to a parameter.
"""

import re
from importlib.resources import files

from sqlalchemy import TextClause, text

# Comments stay here: the server's list of what runs cuts a statement after a thousand bytes.
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_SQL = files("persyn.jobs").joinpath("sql")


def _statement(name: str) -> TextClause:
    return text(_COMMENT.sub("", _SQL.joinpath(f"{name}.sql").read_text(encoding="utf-8")))


BY_INDEX = _statement("by_index")
CANCEL = _statement("cancel")
CLAIM = _statement("claim")
CLAIM_ON = _statement("claim_on")
CLAIM_SUSPECT = _statement("claim_suspect")
CLOSE_STAGE = _statement("close_stage")
COMPLETE = _statement("complete")
COUNT_JOBS = _statement("count_jobs")
COUNTS = _statement("counts")
ENQUEUE = _statement("enqueue")
ENQUEUE_NEW = _statement("enqueue_new")
ENQUEUE_ONE = _statement("enqueue_one")
ENQUEUE_RANGES = _statement("enqueue_ranges")
FOLD = _statement("fold")
HEARTBEAT = _statement("heartbeat")
HELD = _statement("held")
HOLD = _statement("hold")
HOLD_TO_CLAIM = _statement("hold_to_claim")
JOB_EVENTS = _statement("job_events")
JOB_IDS = _statement("job_ids")
LIMIT_IDLING = _statement("limit_idling")
LIST_JOBS = _statement("list_jobs")
LOSE = _statement("lose")
NEXT_GROUP = _statement("next_group")
OLDEST = _statement("oldest")
OPEN_LEASE = _statement("open_lease")
OPEN_STAGE = _statement("open_stage")
OVERDUE = _statement("overdue")
PLAN_FOR_VALUES = _statement("plan_for_values")
POSTPONE = _statement("postpone")
RELEASE = _statement("release")
REMOVE = _statement("remove")
RETRY = _statement("retry")
REVIVE = _statement("revive")
REVOKE = _statement("revoke")
SHOW_JOB = _statement("show_job")
TOO_SOON = _statement("too_soon")
TWINS = _statement("twins")
WAITING = _statement("waiting")


def from_source(enqueue: TextClause, source: str) -> TextClause:
    """ENQUEUE, ENQUEUE_NEW or ENQUEUE_RANGES with another SELECT as its first part, `source`."""
    _, mark, rest = enqueue.text.partition("), new AS (")
    return text(f"WITH source AS ({source}{mark}{rest}")
