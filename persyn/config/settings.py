"""Where this process stands, from its environment."""

import os
from pathlib import Path
from typing import NamedTuple


class Settings(NamedTuple):
    """Where this process stands. An address that is None means the embedded service under `home`."""

    home: Path
    database_url: str | None
    broker_url: str | None

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls(
            home=Path(os.environ.get("PERSYN_HOME") or ".persyn").resolve(),
            database_url=os.environ.get("PERSYN_DATABASE_URL") or None,
            broker_url=os.environ.get("PERSYN_BROKER_URL") or None,
        )
