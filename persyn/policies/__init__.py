"""Which teacher answers which prompt."""
