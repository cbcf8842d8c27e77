"""The one tree of errors that PerSyn raises on purpose.

A `PersynError` is a sentence for the person at the keyboard: what happened, where, and what to do.
The entry points print it without a traceback and exit with `exit_code`. Anything else is a bug and keeps its traceback.
"""

from typing import ClassVar


class PersynError(Exception):
    """Something PerSyn knows how to explain."""

    exit_code: ClassVar[int] = 1


class ConfigError(PersynError):
    """The run's YAML, the environment or a flag is wrong; the message names key, value and what was expected."""

    exit_code = 2


class NotFound(PersynError):
    """A run, prompt, teacher or file that the user named does not exist."""

    exit_code = 2


class InputError(PersynError):
    """A file of the user's cannot be read or was refused as a whole."""

    exit_code = 2


class ServiceError(PersynError):
    """Postgres or the broker is out of reach, or an embedded service did not start."""


class SchemaError(PersynError):
    """The database's schema is not the one this version expects."""


class MissingExtra(PersynError):
    """An optional dependency is needed; the message says which extra installs it."""


class ModelError(PersynError):
    """A model cannot be found or loaded."""


class ServerError(PersynError):
    """A model server did not start, died or stopped making progress."""


class LeaseLost(PersynError):
    """The lease was revoked or ran out; whatever was computed under it must be dropped."""


class GenerationFailed(PersynError):
    """One request to a teacher failed.

    `code` is a short stable word that ends up in `job.error_code`; `permanent` tells whether a retry is pointless.
    `retry_after` is the server's own wish in seconds, where it gave one.
    """

    def __init__(self, code: str, message: str, *, permanent: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = permanent
        self.retry_after = retry_after
