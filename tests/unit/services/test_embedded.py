import os
import subprocess
import sys
from pathlib import Path

import pytest

from persyn.errors import ServiceError
from persyn.services.embedded import (
    SOCKET_PATH_LIMIT,
    accepts,
    current_account,
    locked,
    private_folder,
    run,
    socket_folder,
    wait_until,
)

TRY_LOCK = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def lock_is_free(home: Path) -> bool:
    command = [sys.executable, "-c", TRY_LOCK, str(home / "services.lock")]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_the_lock_excludes_other_processes_until_it_is_released(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert not lock_is_free(tmp_path)
    assert lock_is_free(tmp_path)


def test_a_lock_file_that_a_dead_process_left_behind_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "services.lock").write_text("99999999")
    with locked(tmp_path):
        assert not lock_is_free(tmp_path)


def test_a_socket_without_a_server_accepts_nothing(tmp_path: Path) -> None:
    assert not accepts(tmp_path / "none.sock")
    (tmp_path / "file.sock").write_text("")
    assert not accepts(tmp_path / "file.sock")


def test_a_condition_that_never_holds_is_given_up() -> None:
    assert not wait_until(lambda: False, 0.0)


def test_the_socket_stays_with_its_server_where_the_path_is_short_and_plain() -> None:
    assert socket_folder(Path("/srv/persyn/.persyn/valkey"), "valkey.sock") == Path("/srv/persyn/.persyn/valkey")


@pytest.mark.parametrize(
    "folder",
    [
        "/" + "x" * (SOCKET_PATH_LIMIT - len("/valkey.sock")),  # one byte too long
        "/home/a b",  # a space would need quoting in a URL
        "/home/it's",  # a quote would need escaping in postgresql.conf
        "/home/köln",  # two bytes a character
    ],
)
def test_the_socket_moves_to_a_short_folder_of_its_own_otherwise(folder: str) -> None:
    found = socket_folder(Path(folder), "valkey.sock")
    assert found.parent == Path("/tmp")
    assert found == socket_folder(Path(folder), "valkey.sock")
    assert found != socket_folder(Path(folder + "2"), "valkey.sock")


def test_the_longest_path_that_fits_stays() -> None:
    folder = Path("/" + "x" * (SOCKET_PATH_LIMIT - len("/valkey.sock") - 1))
    assert socket_folder(folder, "valkey.sock") == folder


def test_a_private_folder_is_closed_again_where_it_was_open(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    private_folder(folder, current_account())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_that_someone_put_in_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ServiceError, match="belongs to someone else"):
        private_folder(tmp_path / "link", current_account())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")
def test_a_private_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(ServiceError, match="belongs to someone else"):
        private_folder(tmp_path / "theirs", current_account())


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"sh failed in .*: no space left"):
        run(["/bin/sh", "-c", "echo no space left >&2; exit 3"], current_account(), tmp_path)
