"""The services and the database, opened before a command does anything else."""

from persyn.driving.opening import endpoints, engine

__all__ = ["endpoints", "engine"]
