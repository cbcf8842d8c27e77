"""Which teacher each calibration prompt prefers."""
