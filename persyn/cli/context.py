"""What every command needs first: the services, and a database at the right schema."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from persyn.services import Endpoints


def endpoints() -> "Endpoints":
    """The addresses of Postgres and the broker; starts the embedded ones where none are given."""
    from persyn import services
    from persyn.config import Settings

    return services.connect(Settings.from_environment())


def engine() -> "Engine":
    """An engine on a database at this version's schema.

    An embedded database is brought up to date; an external one is only checked, because migrating is its owner's call.
    """
    from persyn.config import Settings
    from persyn.db import migrate, session

    settings = Settings.from_environment()
    engine = session.connect(endpoints().database_url)
    if settings.database_url is None:
        migrate.upgrade_if_needed(engine)
    else:
        migrate.require_current(engine)
    return engine
