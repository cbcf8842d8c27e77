"""The prompts of a run that have their answer, and those that have none, by reason. Reads only."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn import runs
from persyn.exports import choices, rows

_ROUTED = text("""
SELECT (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id) AS prompts,
       coalesce((
           SELECT bool_and(j.state = 'done') AND (r.policy <> 'budgeted' OR bool_or(j.first_prompt_id IS NULL))
           FROM job j WHERE j.run_id = r.id AND j.kind = 'route'), false) AS routed
FROM run r WHERE r.id = :run_id
""")
_BY_CHOICE = "calibration_excluded"
_UNDECIDED = "not_routed"


class Outcome(NamedTuple):
    """The result of a run so far. Prompts that it leaves out by choice, or that came after it, are not missing."""

    answered: int
    missing: dict[str, int]  # by reason: a dead job's error code, or the prompt's state
    came_after: int  # prompts that were imported once the run was routed

    @property
    def prompts(self) -> int:
        return self.answered + sum(self.missing.values())

    def sentence(self) -> str:
        """`1,992 of 2,000 prompts have their answer; 8 missing: 5 context_too_long, 3 bad_request`."""
        told = f"{self.answered:,} of {self.prompts:,} prompts have their answer"
        if not self.missing:
            return told
        reasons = sorted(self.missing.items(), key=lambda item: (-item[1], item[0]))
        return f"{told}; {sum(self.missing.values()):,} missing: " + ", ".join(f"{n:,} {why}" for why, n in reasons)


def outcome(conn: Connection, run_id: int) -> Outcome:
    """Reads every prompt of the set: for the end of a run, not for each look at it."""
    loaded = runs.load(conn, run_id)
    missing = dict(rows.missing(conn, run_id, choices.of_policy(conn, loaded, loaded.config.policy)))
    run = conn.execute(_ROUTED, {"run_id": run_id}).one()
    answered = run.prompts - sum(missing.values())
    missing.pop(_BY_CHOICE, None)
    came_after = missing.pop(_UNDECIDED, 0) if run.routed else 0
    return Outcome(answered, missing, came_after)
