"""Progress bars are for a person at a terminal, and for nobody else."""

import subprocess
import sys

from persyn.cli import terminal


def test_progress_without_a_terminal_stays_quiet() -> None:
    code = """
from persyn.cli import terminal
with terminal.progress() as show:
    show("Importing", 1000, "rows", None)
    show("Importing", 2000, "rows", 1.0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_progress_takes_known_and_unknown_shares_of_several_things() -> None:
    with terminal.progress() as show:
        show("Importing", 1000, "rows", None)
        show("Importing", 2000, "rows", 0.5)
        show("Embedding", 0, "of 64 prompts", 0.0)
        show("Embedding", 64, "of 64 prompts", 1.0)
