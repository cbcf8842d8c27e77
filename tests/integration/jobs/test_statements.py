"""Every statement's file in psql and in the planner: it runs as it stands, and its header names the right index."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, text

from persyn.config import Settings
from persyn.jobs import statements
from persyn.services import postgres
from persyn.stages import calibrate, generate, score
from tests.integration.jobs.test_protocol_lanes import fill

if TYPE_CHECKING:
    from tests.integration.conftest import World

FILES = sorted(Path(str(statements.__file__)).with_name("sql").glob("*.sql"), key=lambda path: path.name)
VALUES = {
    "after": "0", "at_most": "100", "cap": "300", "code": "'poison'", "codes": "ARRAY['x']", "deadline": "3600",
    "detail": "'died'", "error_code": "NULL", "host": "'h'", "id": "1", "ids": "ARRAY[1, 2]", "job_id": "7",
    "job_ids": "ARRAY[1, 2]", "kind": "'route'", "lease_id": "1", "lease_ids": "ARRAY[1]", "limit": "8",
    "losses": "3", "max_attempts": "5", "messages": "ARRAY['no']", "not_before": "'2026-01-01'",
    "patience_ms": "'60000'", "permanent": "ARRAY[false]", "queue": "'generate.small'", "queues": "'teacher.'",
    "reason": "NULL", "run_id": "1", "scorer_ids": "NULL", "stage": "50", "state": "'dead'", "teacher_id": "NULL",
    "only_run_id": "NULL", "ttl": "90", "wait": "5", "wait_cap": "3600", "waits": "ARRAY[0.5]", "worker": "'w'",
    "without_run_ids": "ARRAY[7]", "without_scorer_ids": "ARRAY[7]", "without_teacher_ids": "ARRAY[7]",
}  # fmt: skip

REVOKED_LEASES = text("""
INSERT INTO lease (worker, host, queue, expires_at, deadline_at, revoked_at, reason)
SELECT 'w', 'h', 'q', now(), now(), now(), 'released' FROM generate_series(1, 3000)
""")


def _psql() -> str:
    if Settings.from_environment().database_url is None:
        return str(postgres.tools_folder() / "psql")
    found = shutil.which("psql")
    if found is None:
        pytest.skip("psql is not installed here")
    return found


def test_psql_runs_every_file_with_its_parameters_as_variables(world: "World") -> None:
    script = "".join(f"BEGIN;\n{path.read_text(encoding='utf-8')}ROLLBACK;\n" for path in FILES)
    variables = [f"--set={name}={value}" for name, value in VALUES.items()]
    url = world.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        [_psql(), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *variables, url],
        input=script, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def indexes_read(conn: Connection, statement: str) -> set[str]:
    """The indexes in the plan of a statement with VALUES, held to them as claims are."""
    conn.execute(statements.BY_INDEX)
    whole = re.sub(r"(?<!:):(\w+)", lambda name: VALUES[name[1]], statement)
    plan = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {whole}").scalar_one()
    return set(_indexes(plan[0]["Plan"]))


def _indexes(node: dict[str, Any]) -> list[str]:
    own = [node["Index Name"]] if "Index Name" in node else []
    return own + [name for child in node.get("Plans", []) for name in _indexes(child)]


@pytest.fixture
def filled(world: "World") -> "World":
    """Thousands of jobs that wait and of leases that were revoked, one that holds some, and statistics that say so."""
    world.leased(4)
    with world.engine.begin() as conn:
        fill(world, conn)
        conn.execute(REVOKED_LEASES)
        conn.execute(text("ANALYZE"))
    return world


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_index_that_a_header_names_serves_its_statement(filled: "World", path: Path) -> None:
    whole = path.read_text(encoding="utf-8")
    (line,) = re.findall(r"^-- Index: (.+)", whole, re.MULTILINE)
    named = set(re.findall(r"\b(?:ix|pk)_\w+", line))
    with filled.engine.begin() as conn:
        used = indexes_read(conn, re.sub(r"--.*", "", whole))
    assert named <= used or (" or " in line and named & used)


@pytest.mark.parametrize("name", ["claim", "claim_on", "claim_suspect"])
def test_a_claim_reads_the_index_made_for_it_and_no_other_of_its_lanes(filled: "World", name: str) -> None:
    own = "ix_job_suspect" if name == "claim_suspect" else "ix_job_ready"
    with filled.engine.begin() as conn:
        used = indexes_read(conn, getattr(statements, name.upper()).text)
    assert {index for index in used if "_job_" in index} - {"ix_job_lease_id"} == {own}


@pytest.mark.parametrize(
    "source", [calibrate._ANSWERS, generate._ROUTED, generate._REROUTED, score._CALIBRATION, score._ROUTED]
)
def test_the_database_plans_a_stages_select_where_the_insert_reads_it(world: "World", source: str) -> None:
    """A CTE that is computed first would be written down and read again, a million rows of it."""
    statement = statements.from_source(statements.ENQUEUE_NEW, source).text
    whole = re.sub(r"(?<!:):(\w+)", lambda name: VALUES[name[1]], statement)
    with world.engine.connect() as conn:
        plan = conn.exec_driver_sql(f"EXPLAIN {whole}").scalars().all()
    assert "CTE source" not in "\n".join(plan)
