"""A run's trained students, and the trainings that were asked for. Reads only."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

_TRAININGS = text("""
SELECT v.model_id, v.policy, v.seed, v.hyperparameters ->> 'method' AS method, v.answers, v.rows, v.tokens, v.steps,
       v.seconds, v.final_loss, v.artifact_place, v.artifact_path, v.host, v.job_id, v.job_state, v.error_code,
       (SELECT e.detail FROM job_event e WHERE e.job_id = v.job_id AND e.event = 'died' ORDER BY e.id DESC LIMIT 1)
           AS detail
FROM audit.student_model v WHERE v.run_id = :run_id ORDER BY v.training_id
""")


class TrainingReport(NamedTuple):
    """One training that was asked for; the numbers of its model are None until that is there."""

    model_id: int | None
    policy: str
    seed: int
    method: str
    answers: int
    rows: int | None
    tokens: int | None  # of which a loss was taken, in all passes
    steps: int | None
    seconds: float | None
    final_loss: float | None
    artifact_place: str | None
    artifact_path: str | None
    host: str | None
    job_id: int
    job_state: str
    error_code: str | None
    detail: str | None  # of the error

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

    @property
    def state(self) -> str:
        """`trained`, or what became of its job."""
        if self.job_state == "dead":
            return f"dead: {self.error_code}: {self.detail or ''}"
        words = {"done": "trained", "ready": "waiting", "leased": "in training"}
        return words.get(self.job_state, self.job_state)


def students(conn: Connection, run_id: int) -> list[TrainingReport]:
    """The trainings of a run's student, in the order in which they were asked for."""
    return [TrainingReport(*row) for row in conn.execute(_TRAININGS, {"run_id": run_id})]
