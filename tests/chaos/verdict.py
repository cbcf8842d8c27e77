"""What a cell found: a line of the table in docs/reliability.md, and of the file that PERSYN_CHAOS_RECORD names."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

RECORD = "PERSYN_CHAOS_RECORD"

# What followed a fault, in seconds from `:mended`, its end: the next answer that was stored; and of the jobs that were
# held when it began, when the first went back to its queue, when the first was claimed again, and how many others were
# claimed from that queue in between (but for the second in which a claim may not see yet what the reaper commits).
FOLLOWED = """
WITH held AS (
    SELECT job_id FROM (SELECT DISTINCT ON (job_id) job_id, event FROM job_event WHERE at <= :fault
                        ORDER BY job_id, id DESC) AS latest
    WHERE event = 'claimed'
), after AS (
    SELECT job_id, event, at, greatest(extract(epoch FROM at - :mended), 0)::float8 AS seconds
    FROM job_event WHERE at > :fault
), back AS (
    SELECT queue, min(at) AS at, min(seconds) AS seconds
    FROM after JOIN held USING (job_id) JOIN job ON job.id = job_id
    WHERE event IN ('lost', 'released', 'retried') GROUP BY queue
), again AS (
    SELECT min(at) AS at, min(seconds) AS seconds FROM after JOIN held USING (job_id) WHERE event = 'claimed'
)
SELECT (SELECT min(seconds) FROM after WHERE event = 'completed' AND at > :mended), (SELECT min(seconds) FROM back),
       (SELECT seconds FROM again),
       (SELECT count(*) FROM after JOIN job ON job.id = job_id JOIN back USING (queue) CROSS JOIN again
        WHERE event = 'claimed' AND after.at > back.at + interval '1 second' AND after.at < again.at)
"""


class Verdict(NamedTuple):
    """A cell's result, as it goes into docs/reliability.md."""

    fault: str
    times: int
    jobs: int
    lost: int  # prompts without a row in the dataset
    doubled: int  # prompts with more than one
    dead: int
    again: int  # answers that were asked for more than once
    again_allowed: int  # by the events: one for each job that was lost, handed back or retried
    lasted_s: list[float]  # how long each fault was there
    answered_s: list[float]  # from its end: until the next answer was stored
    back_s: list[float]  # until jobs that it took were in their queue again; a fault may take none
    claimed_s: list[float]  # until they were claimed again
    overtaken: list[float]  # by how many jobs of their queue; 0 says that no worker came to that queue sooner
    starts_s: list[float]  # how long workers took to start
    note: str = ""


class Fault(NamedTuple):
    at: datetime
    mended: datetime


def record(line: dict[str, Any]) -> None:
    if path := os.environ.get(RECORD):
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")
