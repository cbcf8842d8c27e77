"""The model servers that a worker starts, watches and stops."""
