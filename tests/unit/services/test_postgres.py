import stat
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from persyn import services
from persyn.services import postgres

HOME = Path("/srv/persyn/.persyn")


def test_sqlalchemy_and_libpq_read_the_same_from_the_address() -> None:
    url = postgres.url(HOME)
    _, options = create_engine(url).dialect.create_connect_args(make_url(url))
    libpq = conninfo_to_dict(services.libpq_url(url))
    expected = {"user": "persyn", "dbname": "persyn", "host": "/srv/persyn/.persyn/postgres", "port": "5432"}
    assert {key: str(options[key]) for key in expected} == expected
    assert libpq == expected


@pytest.mark.parametrize("text", [None, "", "not a number\n", "\n" * 8, "99999999\n" * 8])
def test_a_damaged_lock_file_means_that_no_server_runs(tmp_path: Path, text: str | None) -> None:
    postgres.data_folder(tmp_path).mkdir(parents=True)
    if text is not None:
        (postgres.data_folder(tmp_path) / "postmaster.pid").write_text(text)
    assert not postgres.running(tmp_path)
    assert postgres.pid(tmp_path) is None


def test_a_wheel_that_was_installed_for_root_alone_becomes_readable_and_no_more(tmp_path: Path) -> None:
    package = tmp_path / "package"
    program = package / "pginstall18" / "bin" / "postgres"
    library = tmp_path / "package.libs" / "libpq.so"
    for path, mode in ((program, 0o700), (library, 0o600)):
        path.parent.mkdir(parents=True)
        path.write_text("")
        path.chmod(mode)
        path.parent.chmod(0o700)
    postgres.make_readable(package)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (program, program.parent, library, library.parent)]
    assert modes == [0o755, 0o755, 0o644, 0o755]
