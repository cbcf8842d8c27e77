"""The child process that reads and compares final answers, and one lock that lets a thread at a time talk to it.

Its program is `math_check`, which says why it is a process. It starts at the first call and again after it died. A text
that takes it down gets no verdict; the calls after it are not harmed.
"""

import atexit
import json
import subprocess
import sys
import threading
from typing import Any

from persyn.errors import ServerError

PROGRAM = "persyn.rewards.quality.math_check"
KILLED: dict[str, Any] = {"value": None, "reason": "comparing it took more than 5 s or 4 GiB", "detail": {}}


class Checker:
    """The child process and its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, task: str, *given: Any) -> dict[str, Any]:
        """The result of one of the program's tasks, as plain JSON. Raises ServerError."""
        with self._lock:
            process = self._running()
            try:
                print(json.dumps([task, *given]), file=process.stdin, flush=True)
                line = _read(process)
            except BrokenPipeError:
                line = ""
            if not line:
                self._stop()
                return KILLED
        verdict: dict[str, Any] = json.loads(line)
        return verdict

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._stop()
            command = [sys.executable, "-P", "-m", PROGRAM]  # -P: nothing in the working folder is taken for a module
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if _read(self._process) != "ready\n":
                self._stop()
                said = _last_words(command)
                raise ServerError(f"The process that checks mathematical answers did not start: {said}")
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _last_words(command: list[str]) -> str:
    """Why it does not start: it is started once more, because the worker's row names the reason, not only the log."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace")
    return done.stderr.strip().rpartition("\n")[2] or "it says nothing."


def _read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None, "the checker's output is piped"
    return process.stdout.readline()


the_checker = Checker()
atexit.register(the_checker.close)
