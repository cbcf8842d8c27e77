"""Postgres addresses: what is read from them, what is refused, and what a log may show."""

import pytest

from persyn.db import session
from persyn.errors import ConfigError


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_is_read(scheme: str) -> None:
    assert session.parts(f"{scheme}://u:p%40ss@db:5433/x?sslmode=require") == {
        "user": "u", "password": "p@ss", "host": "db", "port": "5433", "dbname": "x", "sslmode": "require",
    }  # fmt: skip


def test_several_hosts_are_read() -> None:
    address = session.parts("postgresql://u@h1:5432,h2:5433/x?target_session_attrs=read-write")
    assert (address["host"], address["port"]) == ("h1,h2", "5432,5433")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:secret@db/x", "expected postgresql://"),  # another database
        ("postgresql+asyncpg://u:secret@db/x", "expected postgresql://"),  # a driver that is not installed
        ("secret", "expected postgresql://"),
        ("postgresql://", "expected postgresql://"),
        ("postgresql://u:secret@db:notaport/x", "the port must be a number"),
        ("postgresql://u:secret@db:65536/x", "the port must be a number"),
        ("postgresql://u:secret@db/x?foo=secret", "no parameter 'foo'"),
        ("postgresql://u:sec?ret=secret@db/x", "written as %40"),
        ("postgresql://u:%secret@db/x", "written as %40"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match="PERSYN_DATABASE_URL: ") as caught:
        session.parts(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@db:5433/x", "postgresql+psycopg://u:***@db:5433/x"),
        ("postgresql://db/x?user=u&password=secret", "postgresql+psycopg://u:***@db/x"),
        ("postgresql://u:secret@h1:5432,h2:5433/x", "postgresql+psycopg://u:***@/x?host=h1%2Ch2&port=5432%2C5433"),
        ("postgresql://u@/x?host=/run&sslpassword=secret", "postgresql+psycopg://u@/x?host=%2Frun"),
    ],
)
def test_a_log_may_show_an_engines_address(url: str, shown: str) -> None:
    assert session.connect(url).url.render_as_string(hide_password=True) == shown
