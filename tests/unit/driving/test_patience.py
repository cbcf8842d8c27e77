"""A database that is away is waited for, and told once."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from persyn.driving.patience import Patience


def test_an_absence_is_told_when_it_begins_and_when_it_ends() -> None:
    said: list[str] = []
    outage = OperationalError("SELECT 1", {}, Exception("connection refused\nIs it running?"))
    course: Iterator[object] = iter([1, outage, outage, 2, 3])

    def question() -> object:
        answer = next(course)
        if isinstance(answer, Exception):
            raise answer
        return answer

    patience = Patience(said.append)
    assert [patience.ask(question) for _ in range(5)] == [1, None, None, 2, 3]
    assert len(said) == 2
    assert "connection refused Is it running?" in said[0]
    assert "UTC" in said[0]
    assert said[1] == "Postgres is back."


def test_a_mistake_of_ours_is_not_waited_for() -> None:
    def question() -> None:
        raise ProgrammingError("SELECT nope", {}, Exception("no such column"))

    with pytest.raises(ProgrammingError):
        Patience(print).ask(question)
