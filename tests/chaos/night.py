"""A night that nobody touches: two runs at once, a fault drawn from the matrix every minute, and the count at the end.

    make night ARGS='--minutes 10 --prompts 300 --latency-s 0.3'

Stub teachers answer, a real student reads what they say, and workers whose waits are shortened (start.py) do the rest.
`persyn run` of both runs is left to itself. What it and the faults say goes into one log, line by line with the time,
and the last lines say whether both runs are finished, and what was lost or doubled. Exits 1 where that does not hold.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, get_args

import yaml
from conftest import prepared
from fleet import LEASED, Fleet, stopped_postgres
from start import LEASE_TTL_S
from test_broker import restart_empty
from test_endpoints import ODD
from test_postgres import BACKENDS

from persyn.config import Flaw
from persyn.services.embedded import wait_until

RUNS = {"first": {"alpha": 0.4, "policy": "persyn"}, "second": {"alpha": 0.7, "policy": "car"}}
KEY = "CHAOS_TEACHER_KEY"
PAUSE = threading.Event()  # nobody sets it: it waits


class Night(Fleet):
    """Two runs on one set, their `persyn run`, and the workers that the faults befall."""

    def begin(self, out: Path, prompts: int, calibration: int, score: str, latency_s: float) -> None:
        self.out, self._lock = out, threading.Lock()
        self._log: TextIO = (out / "night.log").open("w")
        self.log = out / "workers.log"
        self.environment |= {KEY: "sk-chaos"}
        # Wrong answers are asked elsewhere, so rerouting goes through the night too.
        self.configure_stub(latency_s=latency_s, latency_sigma=0.5, sums_right=0.6)
        source = out / "prompts.jsonl"
        lines = ({"id": f"p{n}", "prompt": f"What is {n} + {n % 97}?", "reference_answer": str(n + n % 97)}
                 for n in range(prompts))  # fmt: skip
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.persyn("import", "prompts", "import", str(source), "--set", "night")
        self.screens = {}
        for name, given in RUNS.items():
            path = out / f"{name}.yaml"
            path.write_text(yaml.safe_dump(self._run(name, calibration, score) | given))
            command = ["run", str(path), "--yes", "--no-check"]
            self.screens[name] = self._popen(command)
            threading.Thread(target=self._follow, args=(name,), daemon=True).start()
        self.workers = [self.work() for _ in range(2)]

    def _run(self, name: str, calibration: int, score: str) -> dict[str, Any]:
        endpoint = {"url": self.ground.stub_url, "api_key_env": KEY, "concurrency": 16}
        teachers = [
            {"name": teacher, "family": "stub", "params_b": size, "model": "stub-model", "system_prompt": teacher,
             "endpoint": endpoint}
            for teacher, size in zip(self.teacher_names, (1, 7), strict=True)
        ]  # fmt: skip
        student = {"name": "smollm2", "model": "bundled:smollm2-135m-instruct", "family": "smollm2", "max_length": 256}
        return {
            "name": name, "prompts": "night", "student": student, "teachers": teachers,
            "calibration": {"size": calibration, "validation": 0.25},
            "scorers": {"quality": [{"kind": "math_verify"}], "score": score},
            "router": {"backbone": "bundled:all-minilm-l6-v2"},
            "export": {"keep": list(get_args(Flaw))},
        }  # fmt: skip

    def work(self) -> "subprocess.Popen[bytes]":
        return self.start("--scorers", "--router")

    def _popen(self, arguments: list[str]) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "persyn", *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment, cwd=self.out
        )

    def _follow(self, name: str) -> None:
        for line in self.screens[name].stdout or ():
            self.say(name, line.rstrip())

    def persyn(self, name: str, *arguments: str) -> str:
        """A command as an operator would give it; what it says goes into the log."""
        said = self._popen(list(arguments)).communicate()[0]
        for line in said.splitlines():
            self.say(name, line)
        return said

    def say(self, who: str, what: str) -> None:
        with self._lock:
            print(f"{datetime.now():%H:%M:%S} {who:7} {what}", file=self._log, flush=True)

    def replace(self, victim: "subprocess.Popen[bytes]") -> None:
        self.workers[self.workers.index(victim)] = self.work()

    def over(self) -> bool:
        return all(screen.poll() is not None for screen in self.screens.values())


def kill_a_worker(night: Night, draws: random.Random) -> None:
    victim = draws.choice(night.workers)
    night.kill(victim)
    night.replace(victim)


def stop_a_worker(night: Night, draws: random.Random) -> None:
    victim = draws.choice(night.workers)
    victim.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        victim.wait(timeout=30)
    night.kill(victim)
    night.replace(victim)


def freeze_a_worker(night: Night, draws: random.Random) -> None:
    victim = draws.choice(night.workers)
    victim.send_signal(signal.SIGSTOP)
    PAUSE.wait(LEASE_TTL_S * 2)
    victim.send_signal(signal.SIGCONT)


def restart_postgres(night: Night, draws: random.Random) -> None:
    with stopped_postgres(night.ground):
        PAUSE.wait(draws.choice([0.0, LEASE_TTL_S * 3]))


def kill_a_backend(night: Night, draws: random.Random) -> None:
    backends = night.rows(BACKENDS)
    if backends:
        with suppress(ProcessLookupError):
            os.kill(draws.choice(backends).pid, signal.SIGTERM)


def silence_postgres(night: Night, draws: random.Random) -> None:
    night.postgres.half_open()
    PAUSE.wait(LEASE_TTL_S * 3)
    night.postgres.mend()


def reset_postgres(night: Night, draws: random.Random) -> None:
    night.postgres.cut()
    PAUSE.wait(draws.random())
    night.postgres.mend()


def empty_the_broker(night: Night, draws: random.Random) -> None:
    restart_empty(night, draws.choice([0.0, 15.0]))


def flood_the_broker(night: Night, draws: random.Random) -> None:
    night.wake(times=100)


def break_the_teachers(night: Night, draws: random.Random) -> None:
    night.configure_stub(failures={draws.choice(["500", "503", "cut", "garbage", "hang"]): 1.0})
    PAUSE.wait(5.0)
    night.configure_stub(failures={})


def ask_for_an_odd_wait(night: Night, draws: random.Random) -> None:
    """Not one of an hour: nobody is there to resume."""
    brief = [said for said in ODD if said not in ("1e9", "9" * 40) and "9999" not in said]
    night.configure_stub(failures={"429": 0.5}, retry_after=draws.choice(brief))
    PAUSE.wait(5.0)
    night.configure_stub(failures={}, retry_after=None)


def bring_a_bad_worker(night: Night, draws: random.Random) -> None:
    """One without the key or a package; it leaves after half a minute."""
    lacks = draws.choice([{KEY: ""}, night.lacking("math_verify")])
    bad = night.start("--scorers", **lacks)
    PAUSE.wait(30.0)
    night.kill(bad)


FAULTS: dict[str, Callable[[Night, random.Random], None]] = {
    "kill -9 of a worker": kill_a_worker,
    "SIGTERM": stop_a_worker,
    "SIGSTOP past the TTL": freeze_a_worker,
    "Postgres stopped at once": restart_postgres,
    "a backend killed": kill_a_backend,
    "half-open connection to Postgres": silence_postgres,
    "connections to Postgres reset": reset_postgres,
    "broker killed, restarted with nothing in it": empty_the_broker,
    "each wake-up a hundred times": flood_the_broker,
    "teachers that fail": break_the_teachers,
    "an odd Retry-After": ask_for_an_odd_wait,
    "a worker without a key or a package": bring_a_bad_worker,
}


def disturb(night: Night, seed: int, ends_at: float, every_s: float) -> int:
    """A fault every minute until the runs or the night are over; returns how many there were."""
    draws, number = random.Random(seed), 0
    next_at = time.monotonic() + every_s
    while time.monotonic() < ends_at and not night.over():
        PAUSE.wait(1.0)
        if time.monotonic() < next_at:
            continue
        next_at += every_s
        number += 1
        name = draws.choice(sorted(FAULTS))
        night.say("fault", f"{number}: {name}")
        try:
            FAULTS[name](night, draws)
        except Exception as exc:  # the fault's own trouble is no fault of the product
            night.say("fault", f"{number}: it could not be made: {exc}")
    return number


def judge(night: Night) -> bool:
    """Whether both runs are finished, with nothing lost or doubled, by the tables and by what was exported."""
    fine = True
    prompts = night.scalar("SELECT count(*) FROM prompt")
    for name, screen in night.screens.items():
        rows = Counter[str]()
        for path in sorted(night.out.rglob("train.jsonl")) + sorted(night.out.rglob("validation.jsonl")):
            if name in str(path.relative_to(night.out)):
                rows.update(json.loads(line)["prompt_id"] for line in path.read_text().splitlines())
        state = night.scalar("SELECT state FROM audit.run_state WHERE run = :name", name=name)
        lost, doubled = prompts - len(rows), sum(count > 1 for count in rows.values())
        fine &= (state, lost, doubled, screen.returncode) == ("finished", 0, 0, 0)
        night.persyn(name, "status", name)
        night.say("end", f"{name}: {state}, exit {screen.returncode}, {len(rows)} rows; lost {lost}, doubled {doubled}")
    broken = night.rows("SELECT invariant, violations FROM audit.integrity WHERE violations > 0")
    night.say("end", f"audit integrity: {broken or 'nothing is broken'}; {night.scalar(LEASED)} jobs leased")
    return fine and not broken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("night"), help="a new folder for the log and the data sets")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, help="in place of --hours")
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument(
        "--score", choices=["calibration", "all"], default="calibration", help="what the student reads: all takes hours"
    )
    parser.add_argument(
        "--latency-s", type=float, default=6.0, help="a teacher's median time for an answer; it makes the night last"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-s", type=float, default=60.0, help="from one fault to the next")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing that was started is left behind
    out = args.out.resolve()
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="persyn-night-") as folder, prepared(Path(folder)) as ground:
        night = Night(ground, out)
        try:
            night.begin(out, args.prompts, args.calibration, args.score, args.latency_s)
            minutes = args.hours * 60 if args.minutes is None else args.minutes
            night.say("begin", f"{args.prompts} prompts, {minutes:g} minutes, seed {args.seed}")
            faults = disturb(night, args.seed, time.monotonic() + minutes * 60, args.every_s)
            night.say("end", f"{faults} faults; now the runs come to their end undisturbed")
            wait_until(night.over, 3600)
            fine = judge(night)
        finally:
            for screen in night.screens.values():
                screen.kill()
            night.close()
    print((out / "night.log").read_text()[-3000:])
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
