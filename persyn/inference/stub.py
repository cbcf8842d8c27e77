"""Starts the stub server under its earlier name: `python -m persyn.inference.stub --port 8000 --model m`."""

from persyn.inference.servers.stub import main

if __name__ == "__main__":
    main()
