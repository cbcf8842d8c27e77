"""This process's settings, from its environment."""

import os
from pathlib import Path
from typing import NamedTuple

from persyn.errors import ConfigError


class Settings(NamedTuple):
    """This process's folder and addresses. An address that is None means the embedded service under `home`.

    `train_processes` is the number of processes that train a router's backbone; None means one for each GPU.
    `artifacts_url` is the folder of large routers that all hosts reach; None means that they stay where they are made.
    """

    home: Path
    database_url: str | None
    broker_url: str | None
    train_processes: int | None = None
    artifacts_url: str | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls(
            home=Path(os.environ.get("PERSYN_HOME") or ".persyn").resolve(),
            database_url=os.environ.get("PERSYN_DATABASE_URL") or None,
            broker_url=os.environ.get("PERSYN_BROKER_URL") or None,
            train_processes=_count("PERSYN_TRAIN_PROCESSES"),
            artifacts_url=os.environ.get("PERSYN_ARTIFACTS_URL") or None,
        )


def _count(name: str) -> int | None:
    value = os.environ.get(name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1024):
        raise ConfigError(f"The environment variable {name} is {value!r}: expected a whole number from 1 to 1024.")
    return int(value)
