"""The process around the commands: how it ends, and what it prints on a terminal that is not UTF-8."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

START = "import sys; from persyn.cli import main; {0}; sys.argv = ['persyn', 'runs']; main.main()"
COMMAND = "main.COMMANDS['runs'] = main.Entry('{0}:command', 'One of the test.')"


def start(folder: Path, body: str, **environment: str) -> "subprocess.Popen[str]":
    """`persyn runs`, which does something else here."""
    (folder / "mine.py").write_text(f"import os, signal, time\n\n\ndef command() -> None:\n    {body}\n")
    path = os.pathsep.join([str(folder), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", START.format(COMMAND.format("mine"))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="latin-1",
        env=os.environ | {"PYTHONPATH": path} | environment, preexec_fn=heed_signals,
    )  # fmt: skip


def heed_signals() -> None:
    """Undo what a job in the background, or nohup, has the tests inherit."""
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_gets_a_sentence_and_its_exit_code(tmp_path: Path) -> None:
    process = start(tmp_path, "os.kill(os.getpid(), signal.SIGINT)")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (
        130,
        "persyn: stopped by you; nothing is lost, the same command goes on from here.",
    )


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_a_command_as_an_order_does(tmp_path: Path, signum: signal.Signals) -> None:
    body = f"try: os.kill(os.getpid(), {signum:d}); time.sleep(60)\n    finally: print('cleaned up')"
    process = start(tmp_path, body)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (128 + signum, "cleaned up\n")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_is_not_utf_8_shows_what_it_can(tmp_path: Path, encoding: str) -> None:
    process = start(tmp_path, "print('caf\\u00e9 \\u2013 \\u4f60')", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "café ? ?\n" if encoding == "latin-1" else "caf? ? ?\n"), errors


@pytest.mark.slow
def test_a_missing_library_is_named_with_its_extra(tmp_path: Path) -> None:
    _, errors = (process := start(tmp_path, "raise ModuleNotFoundError(name='torch')")).communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "persyn: this needs torch, which is not installed here. Run pip install 'persyn[train]'.\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ReadOnlySqlTransaction('no INSERT here')", "takes no writes: no INSERT here. Give"),
        (
            "FeatureNotSupported('no read-write during recovery')",
            "takes no writes: no read-write during recovery. Give",
        ),
        ("AdminShutdown('terminating connection.')", "went away: terminating connection. What"),
    ],
)
def test_what_postgres_does_to_a_command_in_its_middle_is_a_sentence(tmp_path: Path, error: str, told: str) -> None:
    imports = "import sqlalchemy.exc as a, psycopg.errors as e"
    process = start(tmp_path, f"{imports}; raise a.OperationalError('SELECT', None, e.{error})")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(f"persyn: Postgres {told}")
    assert len(errors.splitlines()) == 1
