"""`python -m persyn` is `persyn`."""

from persyn.cli.main import main

main()
