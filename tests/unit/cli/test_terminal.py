"""Progress bars are for a person at a terminal, and for nobody else."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from persyn import logs
from persyn.cli import main, terminal
from persyn.errors import RunStopped


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


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    before = list(root.handlers), root.level
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        logs.to_stderr(logs.Level.INFO, logs.Format.JSON)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:], root.level = before


def test_what_happened_is_a_record_where_the_log_is_json(json_log: io.StringIO) -> None:
    terminal.tell("1 job is dead: [x]", "[red]1 job is dead[/red]")
    assert json.loads(json_log.getvalue())["message"] == "1 job is dead: [x]"


def test_so_is_the_sentence_that_a_command_ends_with(json_log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RunStopped("Run shop failed.")

    monkeypatch.setattr(main, "app", fails)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # it sets this for its children, and other tests have theirs
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    found = json.loads(json_log.getvalue())
    assert (found["level"], found["message"]) == ("error", "Run shop failed.")
