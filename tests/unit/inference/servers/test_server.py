import json
import os
from pathlib import Path

import pytest

from persyn import processes
from persyn.inference.servers.server import ProgressWatch, reap_orphans


def verdicts(observations: list[tuple[float, int | None, int]]) -> list[bool]:
    watch = ProgressWatch(stall_s=120)
    return [watch.hung(*observation) for observation in observations]


@pytest.mark.parametrize(
    ("observations", "hung"),
    [
        pytest.param([(0, 5, 3), (119, 5, 3)], False, id="a short pause is no hang"),
        pytest.param([(0, 5, 3), (120, 5, 3)], True, id="requests in flight and no token for 120 s"),
        pytest.param([(0, 5, 0), (500, 5, 0)], False, id="idle for as long as it likes"),
        pytest.param([(0, 5, 0), (500, 5, 0), (510, 5, 1)], False, id="the clock starts with the first request"),
        pytest.param([(0, 5, 0), (500, 5, 0), (510, 5, 1), (620, 5, 1)], True, id="and then runs"),
        pytest.param([(0, 5, 3), (100, 6, 3), (219, 6, 3)], False, id="one token is progress"),
        pytest.param([(0, 5, 3), (100, 6, 3), (220, 6, 3)], True, id="progress long ago is none"),
        pytest.param([(0, 5, 3), (60, None, 3), (120, None, 3)], True, id="unreachable counts as no progress"),
        pytest.param([(0, 5, 3), (60, None, 3), (120, 9, 3)], False, id="reachable again with new tokens"),
        pytest.param([(0, None, 3), (119, None, 3)], False, id="never reachable, not long enough"),
        pytest.param([(0, None, 3), (120, None, 3)], True, id="never reachable"),
    ],
)
def test_only_tokens_tell_a_hang(observations: list[tuple[float, int | None, int]], hung: bool) -> None:
    assert verdicts(observations)[-1] is hung


def write_record(home: Path, *, boot: str, started: int) -> Path:
    """A record that names this very process as the server, with an owner and a guardian that are gone."""
    record = {"boot": boot, "server": os.getpid(), "server_started": started}
    record |= {"owner": 1, "owner_started": -1, "guardian": 1, "guardian_started": -1}
    path = home / "servers" / "8000.json"
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    return path


def test_a_record_whose_pid_has_a_new_owner_kills_nobody(tmp_path: Path) -> None:
    path = write_record(tmp_path, boot=processes.boot_id(), started=-1)
    assert reap_orphans(tmp_path) == []
    assert not path.exists()


def test_a_record_of_another_machine_or_boot_is_left_alone(tmp_path: Path) -> None:
    path = write_record(tmp_path, boot="another", started=-1)
    assert reap_orphans(tmp_path) == []
    assert path.exists()


def test_a_home_without_servers_has_no_orphans(tmp_path: Path) -> None:
    assert reap_orphans(tmp_path) == []
