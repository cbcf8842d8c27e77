"""`python -m benchmarks`: every benchmark at a small size, one after the other."""

from benchmarks import queue_work

queue_work.main()
