"""What the import shows while it runs and when it is done."""

import subprocess
import sys
from pathlib import Path

from persyn.cli.prompts import _summary, bar
from persyn.imports.prompts import ImportReport, Progress


def test_the_summary_names_the_rejects_file_only_where_there_is_one() -> None:
    assert _summary("math", ImportReport(1200, 1100, 100, 0, None, 1)) == (
        "1,100 of 1,200 prompts imported into math; 100 were there already, 0 refused."
    )
    assert _summary("math", ImportReport(2, 1, 0, 1, Path("r.jsonl"), 1)).endswith("Why each was refused: r.jsonl")


def test_progress_without_a_terminal_stays_quiet() -> None:
    code = "from persyn.cli.prompts import bar\nfrom persyn.imports.prompts import Progress\n"
    code += "with bar() as show:\n    show(Progress(1000, None))\n    show(Progress(2000, 1.0))\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_progress_takes_known_and_unknown_sizes() -> None:
    with bar() as show:
        show(Progress(1000, None))
        show(Progress(2000, 0.5))


def test_the_commands_load_no_heavy_library_at_start() -> None:
    code = (
        "import sys, persyn.cli.prompts, persyn.cli.init\nprint({'pyarrow', 'sqlalchemy', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
