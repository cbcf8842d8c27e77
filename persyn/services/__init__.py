"""Postgres and the broker: servers of yours, or a real pair that runs under `.persyn/` without an installation.

`services.connect(settings)` and its like are the functions of `addresses`; each embedded server has its own module.
"""

from persyn.services.addresses import (
    Endpoints,
    ServiceStatus,
    connect,
    libpq_url,
    psql_command,
    require_begun,
    start,
    status,
    stop,
)

__all__ = [
    "Endpoints",
    "ServiceStatus",
    "connect",
    "libpq_url",
    "psql_command",
    "require_begun",
    "start",
    "status",
    "stop",
]
