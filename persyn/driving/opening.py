"""Opens what comes first: the services, and a database at the right schema."""

from typing import TYPE_CHECKING

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.services import broker

if TYPE_CHECKING:
    from sqlalchemy import Engine


def endpoints() -> services.Endpoints:
    """The addresses of Postgres and the broker; starts the embedded ones where none are given."""
    return services.connect(Settings.from_environment())


def broker_url() -> str:
    """The broker's address, to be used. Raises ServiceError where the broker has no database of its number."""
    url = endpoints().broker_url
    broker.require_database(url)
    return url


def engine(*, may_begin: bool = False) -> "Engine":
    """An engine on a database at this version's schema.

    An embedded database is brought up to date; an external one is only checked, because migrating is its owner's call.
    Raises NotFound where there is no database yet, unless this call `may_begin` one.
    """
    settings = Settings.from_environment()
    if not may_begin:
        services.require_begun(settings)
    engine = session.connect(endpoints().database_url)
    if settings.database_url is None:
        migrate.upgrade_if_needed(engine)
    else:
        migrate.require_current(engine)
    return engine
