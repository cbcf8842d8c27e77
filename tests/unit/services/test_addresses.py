from pathlib import Path

import pytest

from persyn.config import Settings
from persyn.errors import ConfigError, NotFound
from persyn.services import connect, libpq_url, psql_command, require_begun, status

BROKER = "redis://:secret@broker:6379/0"


def given(database: str | None, broker: str | None = BROKER) -> Settings:
    return Settings(Path("/nowhere"), database, broker)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_of_a_database_address_becomes_sqlalchemys(scheme: str) -> None:
    assert connect(given(f"{scheme}://u:p@db:5432/x?sslmode=require")) == (
        "postgresql+psycopg://u:p@db:5432/x?sslmode=require",
        BROKER,
    )


def test_both_addresses_are_read_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="PERSYN_DATABASE_URL: "):
        connect(given("postgresql://db:notaport/x"))
    with pytest.raises(ConfigError, match="PERSYN_BROKER_URL: "):
        connect(given("postgresql://db/x", "redis://broker/5x"))


def test_servers_of_yours_that_do_not_answer_are_unreachable_and_shown_without_secrets() -> None:
    settings = given("postgresql://user:secret@127.0.0.1:9/x?password=secret", "redis://user:secret@127.0.0.1:9/0")
    found = status(settings)
    assert [(service.state, service.address) for service in found] == [
        ("unreachable", "postgresql://127.0.0.1:9/x"),
        ("unreachable", "redis://127.0.0.1:9/0"),
    ]


def test_libpq_gets_no_driver_name() -> None:
    assert libpq_url("postgresql+psycopg://u@/x?host=/run") == "postgresql://u@/x?host=/run"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@db:5432/x?sslmode=require",
        "postgresql://db:5432/x?user=user&password=p%40ss&sslmode=require",
    ],
)
def test_psql_gets_the_address_through_its_environment(url: str) -> None:
    command, environment = psql_command(given(url))
    assert len(command) == 1
    assert environment == {
        "PGUSER": "user", "PGPASSWORD": "p@ss", "PGHOST": "db", "PGPORT": "5432", "PGDATABASE": "x",
        "PGSSLMODE": "require",
    }  # fmt: skip


def test_psql_gets_what_has_no_variable_as_an_argument_unless_it_is_secret() -> None:
    command, environment = psql_command(given("postgresql://db/x?keepalives_idle=7&sslpassword=secret"))
    assert command[1:] == ["keepalives_idle=7"]
    assert environment == {"PGHOST": "db", "PGDATABASE": "x"}


def test_a_command_that_only_reads_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no PerSyn in .*PERSYN_HOME"):
        require_begun(Settings(tmp_path / "home", None, None))
    assert not (tmp_path / "home").exists()
    require_begun(given("postgresql://db/x"))
