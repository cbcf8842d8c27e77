"""`python -m benchmarks`: every benchmark at a small size, one after the other."""

from benchmarks import budgeted_routing, queue_work

queue_work.main()
budgeted_routing.main()
