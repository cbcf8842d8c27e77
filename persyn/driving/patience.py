"""Waits for a database that is away, as workers do, and says once since when."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from persyn.db import session

Answer = TypeVar("Answer")


class Patience:
    """Asks the database again and again; `say` gets a line when it goes away and one when it is back."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._away_since: datetime | None = None

    def ask(self, question: Callable[[], Answer]) -> Answer | None:
        """The answer, or None while the database is away."""
        try:
            answer = question()
        except session.DatabaseError as exc:
            if not session.is_away(exc):
                raise
            if self._away_since is None:
                self._away_since = datetime.now(UTC)
                why = session.in_one_line(exc).rstrip(".")
                self._say(
                    f"Postgres is away since {self._away_since:%H:%M:%S} UTC: {why}. This goes on once it is back."
                )
            return None
        if self._away_since is not None:
            self._away_since = None
            self._say("Postgres is back.")
        return answer
