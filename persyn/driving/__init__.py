"""Takes a run to its end from one process: for the commands and for Python alike. Prints nothing."""
