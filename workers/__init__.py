"""The processes that work. Everything here may be killed at any time; what matters is in Postgres."""

import os

# Read when NumPy is first imported, so it stands before everything. The matrices of a router's head are small: several
# threads gain little on them, and on a busy machine they wait for each other (33 times as long where it was measured).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
