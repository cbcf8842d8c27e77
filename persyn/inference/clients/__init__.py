"""Whom a worker asks over HTTP, and at what pace. Nothing here knows a job."""
