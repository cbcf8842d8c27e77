"""A real Postgres and a real broker without an installation: for one machine, for tests, for the first ten minutes."""
