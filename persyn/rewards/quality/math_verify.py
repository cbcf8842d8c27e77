"""Quality of a mathematical answer: 1 if its final answer equals the reference, 0 if not, none where nobody can tell.

The comparison runs in one child process (`math_check`, which says why), started at the first call and again after it
died. An answer that takes it down gets no score; the calls after it are not harmed.
"""

import atexit
import json
import subprocess
import sys
import threading
from typing import Any

from persyn.errors import JobFailed, ServerError
from persyn.rewards.measurement import Measurement

PROGRAM = "persyn.rewards.quality.math_check"
KILLED: dict[str, Any] = {"value": None, "reason": "comparing it took more than 5 s or 4 GiB", "detail": {}}


class _Checker:
    """The child process and the lock that lets one thread at a time talk to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, answer: str, reference: str) -> dict[str, Any]:
        with self._lock:
            process = self._running()
            try:
                print(json.dumps([answer, reference]), file=process.stdin, flush=True)
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


_checker = _Checker()
atexit.register(_checker.close)


def math_verify_score(answer: str, reference: str) -> Measurement | JobFailed:
    """Compare the final answer in a text with the reference: 1.0 or 0.0. Only the last 4,000 characters are read.

    JobFailed `unchecked`: the two cannot be compared, or comparing them ran over its time (5 s) or memory (4 GiB).

    detail["basis"], how the answer was found: `boxed`, `stated` ("the answer is"), `bold`, `sentence` (the last one
    asserts it), `nothing` (none was found); or a guess: `last_in_sight` of several values, or compared as `text`.

    Never raises for what the texts say. Raises ServerError if the child process cannot start.
    """
    verdict = _checker.ask(answer, reference)
    if verdict["value"] is None:
        message = f"The answer cannot be compared with the reference answer: {verdict['reason']}."
        return JobFailed("unchecked", message, permanent=True)
    return Measurement(verdict["value"], verdict["detail"])
