"""The quickstart as a new user meets it: one command, real models, embedded services, nothing set up before."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persyn import services
from persyn.config import Settings
from persyn.db import session

pytestmark = [pytest.mark.models, pytest.mark.timeout(2400)]

CHOSEN = """
SELECT a.external_id, a.teacher, a.flaws = '{}' AS is_sound, d.attempt FROM routing_decision d
JOIN run r ON r.id = d.run_id AND r.policy = d.policy
JOIN audit.answer a ON a.run_id = r.id AND a.prompt_id = d.prompt_id AND a.teacher_id = d.teacher_id
WHERE r.name = 'quickstart' ORDER BY a.external_id, a.teacher
"""


class NewUser:
    """Somebody who has installed PerSyn and done nothing else."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, database_url=None, broker_url=None)

    def persyn(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PERSYN_HOME": str(self.settings.home)}
        for given in ("PERSYN_DATABASE_URL", "PERSYN_BROKER_URL"):
            environment.pop(given, None)
        command = [sys.executable, "-m", "persyn", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)

    def rows(self, statement: str) -> list[Any]:
        engine = session.connect(services.connect(self.settings).database_url)
        with engine.connect() as conn:
            found = [tuple(row) for row in conn.execute(text(statement))]
        engine.dispose()
        return found

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def exported(self) -> list[tuple[str, str]]:
        file = self.settings.home / "exports" / "quickstart" / "train.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return sorted((line["external_id"], line["teacher"]) for line in lines)


@pytest.fixture
def new_user() -> Iterator[NewUser]:
    """The folder is not pytest's, whose long path a Unix socket could not have."""
    with tempfile.TemporaryDirectory(prefix="persyn-test-", dir="/tmp") as folder:
        user = NewUser(Path(folder) / "home")
        yield user
        services.stop(user.settings)


def test_quickstart_makes_a_set_and_a_second_call_generates_nothing(new_user: NewUser) -> None:
    first = new_user.persyn("quickstart")
    assert first.returncode == 0, first.stderr
    prompts, calibrated, made = (new_user.count(table) for table in ("prompt", "calibration_prompt", "generation"))
    assert prompts > calibrated > 0
    chosen = new_user.rows(CHOSEN)
    rerouted = sum(attempt > 1 for *_, attempt in chosen)
    assert made == 3 * calibrated + prompts - calibrated + rerouted
    assert len(chosen) == new_user.count("routing_decision") == prompts + rerouted
    # A prompt is asked again where its answers are wrong, so that one of them is sound at most: the last.
    sound = sorted((prompt, teacher) for prompt, teacher, is_sound, _ in chosen if is_sound)
    assert 0 < len(sound) < prompts, "these small teachers are right now and then"
    assert any(is_sound for *_, is_sound, attempt in chosen if attempt > 1), "a second teacher helps now and then"
    assert new_user.exported() == sound
    assert new_user.rows("SELECT invariant FROM audit.integrity WHERE violations <> 0") == []

    second = new_user.persyn("quickstart")
    assert second.returncode == 0, second.stderr
    assert "nothing is generated again" in second.stderr
    assert new_user.count("generation") == made
    assert new_user.exported() == sound
