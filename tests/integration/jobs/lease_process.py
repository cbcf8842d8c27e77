"""A worker reduced to the protocol, in a process of its own: the tests kill and stop it at chosen points.

It claims, prints what it got, and then obeys one word a line from standard input; reading is its 'generating'.
Every answer is one line of JSON.
"""

import json
import sys
from typing import Any

from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.db import session
from persyn.errors import LeaseLost

STORE = text("""
INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed, latency_s,
                        job_id, lease_id)
SELECT prompt_id, teacher_id, 'answer', 'stop', 1, 1, 0, 0.1, id, :lease FROM job WHERE id = ANY(:ids)
""")


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def store(conn: Connection, lease_id: int, job_ids: list[int]) -> list[int]:
    accepted = sorted(jobs.complete(conn, lease_id, job_ids))
    conn.execute(STORE, {"lease": lease_id, "ids": accepted})
    return accepted


def obey(engine: Engine, word: str, lease_id: int, job_ids: list[int]) -> dict[str, Any]:
    try:
        with engine.begin() as conn:
            if word == "heartbeat":
                return {"alive": jobs.heartbeat(conn, lease_id)}
            accepted = store(conn, lease_id, job_ids)
            if word == "hang":  # after storing, before the commit
                say(uncommitted=accepted)
                sys.stdin.readline()
            return {"accepted": accepted}
    except LeaseLost as exc:
        return {"lost": str(exc)}


def main(url: str, queue: str, limit: int) -> None:
    engine = session.connect(url)
    with engine.begin() as conn:
        lease_id = jobs.open_lease(conn, worker="process", host="h", queue=queue)
        job_ids = [claim.id for claim in jobs.claim(conn, lease_id, queue, limit)]
    say(lease=lease_id, jobs=job_ids)
    for line in sys.stdin:
        say(**obey(engine, line.strip(), lease_id, job_ids))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
