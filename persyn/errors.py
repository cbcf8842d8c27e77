"""The one tree of errors that PerSyn raises on purpose.

    PersynError
    ├── ConfigError, NotFound, InputError      the user's input: exit status 2
    ├── ServiceError, SchemaError              Postgres, the broker, the schema
    ├── RunStopped                             a run failed or was cancelled
    ├── Incomplete                             more prompts are missing than may be: exit status 3
    ├── MissingExtra, ModelError, ServerError  what a model needs here
    ├── LeaseLost                              the work is another worker's now
    ├── EndpointPaused                         an endpoint is not to be asked for a while
    └── JobFailed                              one job gives no result
        ├── RequestFailed                      because a request to an endpoint failed
        └── ChatError                          because its messages cannot be rendered

A `PersynError` is a sentence for the person at the keyboard: it says what happened, where, and what to do. The entry
points print it without a traceback and exit with `exit_code`. Anything else is a bug and keeps its traceback.
"""

from typing import ClassVar

from persyn.secrets import mask


class PersynError(Exception):
    """An error that PerSyn knows how to explain. Its message holds no key."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(mask(message))


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


class RunStopped(PersynError):
    """A run failed or was cancelled; the message says why and what lets it go on."""


class Incomplete(PersynError):
    """A run ended, and more of its prompts have no row than the user allows."""

    exit_code = 3


class MissingExtra(PersynError):
    """An optional dependency is needed; the message says which extra installs it."""


class ModelError(PersynError):
    """A model cannot be found or loaded."""


class ServerError(PersynError):
    """A model server did not start, died or stopped making progress."""


class LeaseLost(PersynError):
    """The lease was revoked or ran out; everything computed under it must be dropped."""


class EndpointPaused(PersynError):
    """An endpoint is not to be asked for `seconds`. Claimed jobs go back without an attempt spent."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class JobFailed(PersynError):
    """One job gives no result.

    `code` is a short stable word for `job.error_code`. `permanent`: a retry is pointless. `retry_after_s`: the wait
    that a server asked for, in seconds.
    """

    def __init__(self, code: str, message: str, *, permanent: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class RequestFailed(JobFailed):
    """One request to an endpoint or a model server failed."""


class ChatError(JobFailed):
    """One prompt and answer cannot be rendered. Codes: `context_too_long`, `template_refused`, `no_tools`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, permanent=True)
