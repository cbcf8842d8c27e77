from pathlib import Path

import pytest

from persyn.config import Settings
from persyn.errors import ConfigError
from persyn.services import connect, libpq_url, psql_command, status

BROKER = "redis://:secret@broker:6379/0"


def given(database: str | None, broker: str | None = BROKER) -> Settings:
    return Settings(Path("/nowhere"), database, broker)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_of_a_database_address_becomes_sqlalchemys(scheme: str) -> None:
    assert connect(given(f"{scheme}://u:p@db:5432/x?sslmode=require")) == (
        "postgresql+psycopg://u:p@db:5432/x?sslmode=require",
        BROKER,
    )


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@db/x",  # another database
        "postgresql+asyncpg://u:secret@db/x",  # a driver that is not installed
        "secret",  # no scheme
        "postgresql://",  # no address
    ],
)
def test_an_address_of_another_kind_is_refused_without_repeating_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError, match="PERSYN_DATABASE_URL: expected postgresql://") as caught:
        connect(given(url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["amqp://u:secret@mq//", "secret", "redis://"])
def test_a_broker_of_another_kind_is_refused_without_repeating_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError, match="PERSYN_BROKER_URL: expected redis://") as caught:
        connect(given("postgresql://db/x", url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [BROKER, "rediss://b/0?ssl_cert_reqs=required", "redis+socket:///run/valkey.sock"])
def test_a_broker_address_is_taken_as_it_is(url: str) -> None:
    assert connect(given("postgresql://db/x", url)).broker_url == url


def test_servers_of_yours_that_do_not_answer_are_unreachable_and_shown_without_secrets() -> None:
    settings = given("postgresql://user:secret@127.0.0.1:9/x?password=secret", "redis://user:secret@127.0.0.1:9/0")
    found = status(settings)
    assert [(service.state, service.address) for service in found] == [
        ("unreachable", "postgresql://127.0.0.1:9/x"),
        ("unreachable", "redis://127.0.0.1:9/0"),
    ]


def test_libpq_gets_no_driver_name() -> None:
    assert libpq_url("postgresql+psycopg://u@/x?host=/run") == "postgresql://u@/x?host=/run"


def test_psql_gets_the_password_through_its_environment() -> None:
    command, environment = psql_command(given("postgresql://user:p%40ss@db:5432/x?sslmode=require"))
    assert command[1] == "postgresql://user@db:5432/x?sslmode=require"
    assert environment == {"PGPASSWORD": "p@ss"}


def test_psql_gets_no_password_where_there_is_none() -> None:
    command, environment = psql_command(given("postgresql://db/x"))
    assert command[1] == "postgresql://db/x"
    assert environment == {}
