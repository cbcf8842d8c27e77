"""A router's row: which artifact it is, what it was trained on, and how well it does."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import jobs
from persyn.config import RunConfig
from persyn.jobs.wake_ups import ROUTER
from persyn.states import Stage

_INSERT = text("""
INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path, artifact_sha256, metrics,
                    code_version, job_id, lease_id)
VALUES (:run_id, :backbone, :teacher_ids, :alpha, :normalisation, :seed, :artifact_path, :artifact_sha256, :metrics,
        :code_version, :job_id, :lease_id)
ON CONFLICT (run_id) DO NOTHING
""").bindparams(bindparam("metrics", type_=JSONB))


class StoredRouter(NamedTuple):
    id: int
    backbone: str
    artifact_path: str
    artifact_sha256: str
    metrics: dict[str, Any]


def enqueue(conn: Connection, run_id: int) -> int:
    return jobs.enqueue_stage(conn, run_id, "train_router", ROUTER, Stage.TRAIN)


def find(conn: Connection, run_id: int) -> StoredRouter | None:
    row = conn.execute(
        text("SELECT id, backbone, artifact_path, artifact_sha256, metrics FROM router WHERE run_id = :id"),
        {"id": run_id},
    ).first()
    return None if row is None else StoredRouter(*row)


def store(
    conn: Connection,
    lease_id: int,
    job_id: int,
    run_id: int,
    config: RunConfig,
    *,
    teacher_ids: tuple[int, ...],
    path: str,
    sha256: str,
    metrics: dict[str, Any],
) -> None:
    """Complete the training job and keep its router. Raises LeaseLost."""
    if not jobs.complete(conn, lease_id, [job_id]):
        return
    conn.execute(
        _INSERT,
        {
            "run_id": run_id,
            "backbone": config.router.backbone,
            "teacher_ids": list(teacher_ids),
            "alpha": config.alpha,
            "normalisation": config.normalisation,
            "seed": config.seed,
            "artifact_path": path,
            "artifact_sha256": sha256,
            "metrics": metrics,
            "code_version": persyn.__version__,
            "job_id": job_id,
            "lease_id": lease_id,
        },
    )
