"""Runs as people ask for them: stages, summary, failures, and the integrity of it all. Reads only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.errors import NotFound
from persyn.exports import best
from persyn.rewards.quality.final_answer import GUESSES
from persyn.runs import Run, load
from persyn.stages import score
from persyn.states import Stage

STAGE_NAMES: dict[Stage, str] = {
    Stage.CALIBRATE: "calibrate",
    Stage.SCORE: "score",
    Stage.TRAIN: "train router",
    Stage.ROUTE: "route",
    Stage.GENERATE: "generate",
    Stage.SCORE_ROUTED: "score routed",
    Stage.REROUTE: "reroute",
    Stage.TRAIN_STUDENT: "train student",
}


class StageStatus(NamedTuple):
    """The number of a stage's jobs in each state. `total` grows while work is being added."""

    stage: str
    total: int
    ready: int
    leased: int
    done: int
    dead: int
    cancelled: int


class RunStatus(NamedTuple):
    id: int
    name: str
    policy: str
    created_at: datetime
    finished_at: datetime | None
    state: str  # waiting, in progress, stopped after a stage, finished, failed or cancelled: view audit.run_state
    reason: str
    prompts: int
    decided: int
    stages: list[StageStatus]

    @property
    def dead(self) -> int:
        return sum(stage.dead for stage in self.stages)

    @property
    def ended(self) -> bool:
        """Whether it goes no further by itself."""
        return self.finished_at is not None or self.state == "cancelled"

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"stages": [stage._asdict() for stage in self.stages]}


class TeacherResult(NamedTuple):
    """One teacher in one run. Means are of raw scores on the calibration set; None where nothing was scored."""

    teacher: str
    prompts: int  # that were routed to it
    rerouted: int  # that came to it after others had failed
    opinions: int  # routed prompts that it is asked about for a second opinion
    generated: int  # answers that this run made
    reused: int  # answers that existed already, another run's or imported
    completion_tokens: int
    quality: float | None
    learnability: float | None


class Mean(NamedTuple):
    """Mean raw scores over some prompts' chosen answers."""

    prompts: int
    quality: float | None
    learnability: float | None


class Verdicts(NamedTuple):
    """The verdicts of math_verify on a run's answers, and those of them that hang on a guess, by its kind."""

    total: int
    guessed: dict[str, int]


class Summary(NamedTuple):
    teachers: list[TeacherResult]
    calibration: Mean  # the answers chosen for calibration prompts
    routed: Mean  # the answers chosen by the policy for the other prompts
    first: Mean | None  # the same where the first answer counts; None where no prompt may get several
    prompts: int
    explored: int  # prompts whose teacher was drawn at random
    decided: int  # prompts that the policy decided on: all but those with a measured answer
    generated: int
    reused: int
    full: int  # N·M: what Generate then Select would have asked for
    metrics: dict[str, Any] | None  # the router's, on the validation split
    verdicts: Verdicts
    late_scores: int  # calibration scores that came after the router was trained
    elapsed_s: float | None


def runs(conn: Connection) -> list[dict[str, Any]]:
    rows = conn.execute(
        text("""
        SELECT r.id, r.name, x.state, s.name AS prompt_set, st.name AS student, r.policy, r.created_at, r.finished_at,
               x.done, x.ready + x.leased AS open, x.dead, x.reason
        FROM run r JOIN prompt_set s ON s.id = r.prompt_set_id JOIN student st ON st.id = r.student_id
        JOIN audit.run_state x ON x.run_id = r.id ORDER BY r.id
        """)
    )
    return [dict(row._mapping) for row in rows]


def status(conn: Connection, run_id: int) -> RunStatus:
    """Raises NotFound."""
    run = conn.execute(
        text("""
        SELECT r.id, r.name, r.policy, r.created_at, r.finished_at, x.state, x.reason,
               coalesce(r.prompt_count, (
                   SELECT count(*) FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id)) AS prompts,
               coalesce(r.decided_count, (
                   SELECT count(*) FROM routing_decision d
                   WHERE d.run_id = r.id AND d.policy = r.policy AND d.attempt = 1)) AS decided
        FROM run r JOIN audit.run_state x ON x.run_id = r.id WHERE r.id = :id
        """),
        {"id": run_id},
    ).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}. `persyn runs` lists those that there are.")
    numbers: Counter[tuple[int, str]] = Counter()
    for count in jobs.counts(conn, run_id):
        numbers[count.stage, count.state] += count.jobs
    stages = [_stage(stage, numbers) for stage in Stage]
    return RunStatus(**run._mapping, stages=[stage for stage in stages if stage.total])


def _stage(stage: Stage, counts: Mapping[tuple[int, str], int]) -> StageStatus:
    states = ("ready", "leased", "done", "dead", "cancelled")
    numbers = {state: counts.get((int(stage), state), 0) for state in states}
    return StageStatus(STAGE_NAMES[stage], sum(numbers.values()), **numbers)


def integrity(conn: Connection) -> list[tuple[str, int]]:
    """Each invariant with how often it is violated."""
    return [(row.invariant, row.violations) for row in conn.execute(text("SELECT * FROM audit.integrity"))]


def failures(conn: Connection, run_id: int) -> Sequence[Any]:
    return conn.execute(text("SELECT * FROM audit.failures WHERE run_id = :id"), {"id": run_id}).all()


# Several scorers of one kind: their weighted mean, of raw values.
_MEAN = """
SELECT sum(x.value * rs.weight) / nullif(sum(rs.weight), 0) AS value
FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id JOIN score x ON x.generation_id = g.id AND x.scorer_id = s.id
WHERE rs.run_id = r.id AND s.kind = '{kind}'
"""
_MEANS = {kind: _MEAN.format(kind=kind) for kind in ("quality", "learnability")}

_TEACHERS = text(
    """
WITH chosen AS (
    SELECT teacher_id, count(*) FILTER (WHERE d.attempt = 1) AS prompts,
           count(*) FILTER (WHERE d.attempt > 1) AS rerouted
    FROM routing_decision d JOIN run r ON r.id = d.run_id AND r.policy = d.policy
    WHERE d.run_id = :id GROUP BY teacher_id
), measured AS (
    SELECT g.teacher_id, avg(q.value) AS quality, avg(l.value) AS learnability
    FROM run r
    JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
    JOIN run_teacher rt ON rt.run_id = r.id
    JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
    LEFT JOIN LATERAL ({quality}) AS q ON true
    LEFT JOIN LATERAL ({learnability}) AS l ON true
    WHERE r.id = :id GROUP BY g.teacher_id
)
SELECT t.name AS teacher, coalesce(ch.prompts, 0) AS prompts, coalesce(ch.rerouted, 0) AS rerouted,
       coalesce(second.opinions, 0) AS opinions,
       coalesce(a.generated, 0) AS generated,
       coalesce(a.reused + a.imported, 0) AS reused, coalesce(a.completion_tokens, 0) AS completion_tokens,
       m.quality, m.learnability
FROM run_teacher rt
JOIN teacher t ON t.id = rt.teacher_id
LEFT JOIN chosen ch ON ch.teacher_id = t.id
LEFT JOIN measured m ON m.teacher_id = t.id
LEFT JOIN (SELECT teacher_id, count(*) AS opinions FROM audit.opinion WHERE run_id = :id GROUP BY teacher_id) AS second
       ON second.teacher_id = t.id
LEFT JOIN audit.cost a ON a.run_id = rt.run_id AND a.teacher = t.name
WHERE rt.run_id = :id ORDER BY rt.position
""".format(**_MEANS)
)

_CHOSEN = text(
    """
SELECT c.prompt_id IS NOT NULL AS calibration, count(*) AS prompts,
       avg(q.value) AS quality, avg(l.value) AS learnability
FROM routing_decision d
JOIN run r ON r.id = d.run_id AND r.policy = d.policy
LEFT JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = d.prompt_id
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND CASE
    WHEN CAST(:best AS bigint[]) IS NULL THEN d.attempt = 1 AND g.sample_index = 0
    WHEN d.samples > 1 OR d.attempt > 1 OR EXISTS (
        SELECT FROM routing_decision other
        WHERE other.run_id = d.run_id AND other.policy = d.policy AND other.prompt_id = d.prompt_id
          AND other.attempt = 2) THEN g.id = ANY(CAST(:best AS bigint[]))
    ELSE g.sample_index = 0 END
LEFT JOIN LATERAL ({quality}) AS q ON true
LEFT JOIN LATERAL ({learnability}) AS l ON true
WHERE d.run_id = :id GROUP BY c.prompt_id IS NOT NULL
""".format(**_MEANS)
)


_VERDICTS = text("""
SELECT x.detail ->> 'basis' AS basis, count(*) AS verdicts
FROM run r
JOIN run_scorer rs ON rs.run_id = r.id
JOIN scorer s ON s.id = rs.scorer_id AND s.method = 'math_verify'
JOIN run_teacher rt ON rt.run_id = r.id
JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
JOIN generation g ON g.prompt_id = p.id AND g.teacher_id = rt.teacher_id
JOIN score x ON x.generation_id = g.id AND x.scorer_id = s.id
WHERE r.id = :id AND (
    EXISTS (SELECT FROM calibration_prompt c
            WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = p.id)
    OR EXISTS (SELECT FROM routing_decision d
               WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id AND d.teacher_id = g.teacher_id))
GROUP BY 1
""")


def _verdicts(conn: Connection, run_id: int) -> Verdicts:
    counts = {row.basis: int(row.verdicts) for row in conn.execute(_VERDICTS, {"id": run_id})}
    return Verdicts(sum(counts.values()), {basis: counts[basis] for basis in GUESSES if basis in counts})


def _best(conn: Connection, run: Run) -> list[int]:
    """The best answers to the prompts that got several."""
    return [best.best(group).generation_id for group in best.candidates(conn, run)]


def _chosen(conn: Connection, run_id: int, best_ids: list[int] | None) -> dict[bool, Mean]:
    """The chosen answers' means, of calibration prompts (True) and others; without ids each prompt's first answer."""
    return {row.calibration: Mean(*row[1:]) for row in conn.execute(_CHOSEN, {"id": run_id, "best": best_ids})}


_EXPLORED = text("""
SELECT count(*) FILTER (WHERE d.basis = 'explored') AS explored, count(*) AS decided
FROM routing_decision d JOIN run r ON r.id = d.run_id AND r.policy = d.policy
WHERE r.id = :id AND d.attempt = 1 AND d.basis <> 'measured'
""")
_METRICS = text("""
SELECT metrics FROM run r JOIN router ON router.run_id = coalesce(r.router_run_id, r.id) WHERE r.id = :id
""")


def summary(conn: Connection, run_id: int) -> Summary:
    teachers = [TeacherResult(*row) for row in conn.execute(_TEACHERS, {"id": run_id})]
    run = load(conn, run_id)
    several = run.config.asks_several_times
    first = _chosen(conn, run_id, None)
    chosen = _chosen(conn, run_id, _best(conn, run)) if several else first
    metrics = conn.execute(_METRICS, {"id": run_id}).scalar()
    state = status(conn, run_id)
    decided = conn.execute(_EXPLORED, {"id": run_id}).one()
    nothing = Mean(0, None, None)
    return Summary(
        teachers=teachers,
        calibration=chosen.get(True, nothing),
        routed=chosen.get(False, nothing),
        first=first.get(False, nothing) if several else None,
        prompts=state.prompts,
        explored=decided.explored,
        decided=decided.decided,
        generated=sum(teacher.generated for teacher in teachers),
        reused=sum(teacher.reused for teacher in teachers),
        full=state.prompts * len(teachers),
        metrics=metrics,
        verdicts=_verdicts(conn, run_id),
        late_scores=score.came_later(conn, run_id),
        elapsed_s=(state.finished_at - state.created_at).total_seconds() if state.finished_at else None,
    )
