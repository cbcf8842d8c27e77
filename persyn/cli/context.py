"""The services and the database, opened before a command does anything else."""

from persyn.driving.opening import broker_url, endpoints, engine

__all__ = ["broker_url", "endpoints", "engine"]
