"""Quality of a mathematical answer: 1 if its final answer equals the reference, else 0.

The comparison runs in one child process (`math_check`, which says why), started at the first call and again after it
died. An answer that takes it down is a wrong answer; the calls after it are not harmed.
"""

import atexit
import json
import subprocess
import sys
import threading
from pathlib import Path

from persyn.errors import ServerError
from persyn.rewards.measurement import Measurement

PROGRAM = Path(__file__).with_name("math_check.py")


class _Checker:
    """The child process and the lock that lets one thread at a time talk to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, answer: str, reference: str) -> Measurement:
        with self._lock:
            process = self._running()
            try:
                print(json.dumps([answer, reference]), file=process.stdin, flush=True)
                line = _read(process)
            except BrokenPipeError:
                line = ""
            if not line:
                self._stop()
                return Measurement(0.0, {"method": "killed"})
        return Measurement(**json.loads(line))

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._stop()
            # -P: the program's folder holds modules of ours, which must not shadow anyone's
            command = [sys.executable, "-P", str(PROGRAM)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if _read(self._process) != "ready\n":
                self._stop()
                raise ServerError("The process that checks mathematical answers did not start; its reason is above.")
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None, "the checker's output is piped"
    return process.stdout.readline()


_checker = _Checker()
atexit.register(_checker.close)


def math_verify_score(answer: str, reference: str) -> Measurement:
    """Compare the final answer in a text with the reference: 1.0 or 0.0. Only the last 4,000 characters are read.

    detail["method"]: `math_verify`; `last_number` or `text`, where math_verify could read nothing; `error` or
    `killed`, where the comparison failed, ran over its time (5 s) or its memory (4 GiB).

    Never raises for what the texts say. Raises ServerError if the child process cannot start.
    """
    return _checker.ask(answer, reference)
