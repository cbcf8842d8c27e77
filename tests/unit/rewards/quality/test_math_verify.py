"""`rewards.math_verify` through its real child process."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from persyn import processes
from persyn.errors import JobFailed, ServerError
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.checker import Checker
from persyn.rewards.quality.math_verify import math_verify_score

KILLED = """
import psutil, threading, time
from persyn.rewards.quality.math_verify import math_verify_score
math_verify_score("72", "72")
[child] = psutil.Process().children()
print(child.pid, flush=True)
math_verify_score("\\\\boxed{9^{9^{9^{9^9}}}}", "72")
"""


def value_of(answer: str, reference: str) -> float:
    verdict = math_verify_score(answer, reference)
    assert isinstance(verdict, Measurement)
    return verdict.value


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("The answer is 72.", "72"),
        ("So 48 + 24 = 72.", "72."),
        ("#### 72", "72"),
        ("**72**", "72"),
        ("so \\boxed{72}", "72"),
        ("It costs $1,234.00.", "1234"),
        ("It costs $1,234.00", "$1,234.00"),
        ("He starts with $5 and ends with $18.", "18"),  # no formula between the two dollar signs
        ("Therefore $x = 18$", "18"),
        ("It is 1/2", "0.5"),
        ("We get $\\frac{1}{2}$", "\\frac{1}{2}"),
        ("\\boxed{x^2+1}", "1+x^2"),
        ("\\boxed{x^2+1}", "$1+x^2$"),
        ("-3", "-3"),
        ("blue", "blue"),
    ],
)
def test_a_right_answer_scores_one(answer: str, reference: str) -> None:
    assert value_of(answer, reference) == 1.0


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("The answer is 71.", "72"),
        ("72 at first, but 80 in the end: the answer is 80", "72"),
        ("He starts with $18 and ends with $5.", "18"),
        ("I do not know.", "72"),
        ("", "72"),
        ("", ""),
        ("\\boxed{x^2-1}", "1+x^2"),
        ("red", "blue"),
    ],
)
def test_a_wrong_answer_scores_zero(answer: str, reference: str) -> None:
    assert value_of(answer, reference) == 0.0


def test_only_the_tail_of_a_huge_answer_is_read() -> None:
    assert value_of("7" * 1_000_000 + " so the answer is 72", "72") == 1.0
    assert value_of("72" + " and so on" * 100_000, "72") == 0.0


@pytest.mark.parametrize("hostile", ["(" * 4000, "\\frac{" * 600, "\ud800 \x00", "$$" * 900, "\\boxed{", "9" * 3999])
def test_text_that_holds_no_answer_is_a_wrong_one(hostile: str) -> None:
    assert value_of(hostile, "72") == 0.0


@pytest.mark.slow  # waits until its time is up
def test_an_answer_that_would_compute_forever_has_no_verdict_and_harms_no_other() -> None:
    verdict = math_verify_score("\\boxed{9^{9^{9^{9^9}}}}", "72")
    assert isinstance(verdict, JobFailed)
    assert (verdict.code, verdict.permanent, "more than 5 s" in str(verdict)) == ("unchecked", True, True)
    assert value_of("72", "72") == 1.0


@pytest.mark.slow
def test_a_comparison_ends_although_the_worker_was_killed_in_it() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        time.sleep(1)  # until the child computes
        os.kill(worker.pid, signal.SIGKILL)
    while processes.start_time(child):  # the kernel's alarm ends it
        time.sleep(0.1)


def test_threads_may_ask_at_the_same_time() -> None:
    values: dict[int, float] = {}

    def ask(number: int) -> None:
        values[number] = value_of(f"The answer is {number}.", str(number - number % 2))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {number: float(number % 2 == 0) for number in range(8)}


def test_the_detail_tells_what_was_compared() -> None:
    verdict = math_verify_score("The answer is 71.", "$72")
    assert verdict == Measurement(0.0, {"basis": "stated", "answer": "71.", "reference": "$72"})


def test_what_cannot_be_compared_has_no_verdict_and_says_why() -> None:
    verdict = math_verify_score("The answer is 42.", "B")
    assert isinstance(verdict, JobFailed)
    assert (verdict.code, "names no option" in str(verdict)) == ("unchecked", True)


@pytest.mark.slow
def test_a_host_without_the_package_says_which_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math_verify.py").write_text("raise ModuleNotFoundError('No module named math_verify')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    checker = Checker()
    with pytest.raises(ServerError, match="did not start: ModuleNotFoundError: No module named math_verify"):
        checker.ask("check", "1", "1")
