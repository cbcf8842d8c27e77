"""The counters of this process, for Prometheus; docs/operations.md lists them.

They say what this worker did since it started, so a dashboard adds up the workers' rates. What the tables know of all
workers together (jobs by state, leases, pauses) is asked of the database by `reporting.gauges`, once and not by each.
A transaction that is rolled back after it was counted here is counted all the same.
"""

import platform

from prometheus_client import Counter, Histogram, Info

import persyn

TOKENS = Counter("persyn_tokens", "Tokens of stored answers.", ["teacher", "kind"])
ANSWERS = Counter("persyn_answers", "Stored answers.", ["teacher"])
RETRIED = Counter("persyn_jobs_retried", "Jobs sent back to wait for another attempt.", ["code"])
LOST = Counter("persyn_jobs_lost", "Jobs whose lease ran out or whose server died under them.")
DIED = Counter("persyn_jobs_died", "Jobs that ended without a result.", ["code"])
WAKE_UPS = Counter("persyn_wake_ups", "Wake-ups sent to the broker.", ["queue"])
DRAINS = Counter("persyn_drains", "Wake-ups taken, each of which drains a queue.", ["queue"])
SERVER_STARTS = Counter("persyn_server_starts", "Model servers started; more than one a model is a restart.", ["model"])
REQUESTS = Counter(
    "persyn_requests", "Requests to endpoints and model servers, by their result.", ["endpoint", "teacher", "result"]
)
REQUEST_SECONDS = Histogram(
    "persyn_request_seconds", "Time until a request was answered or had failed.", ["endpoint", "teacher"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600),
)  # fmt: skip
BUILD = Info("persyn_build", "The version of this program.")

OWN_SERVER = "own server"  # the endpoint of a worker's own servers, whose ports change


def build(program: str) -> dict[str, str]:
    """The labels of `persyn_build_info`."""
    return {"program": program, "version": persyn.__version__, "python": platform.python_version()}


BUILD.info(build("worker"))


def requested(endpoint: str, teacher: str, result: str, seconds: float) -> None:
    """Count a request: its result is `ok` or the failure's code; `teacher` is empty for a judge or a reward model."""
    REQUESTS.labels(endpoint, teacher, result).inc()
    REQUEST_SECONDS.labels(endpoint, teacher).observe(seconds)


def answered(teacher: str, prompt_tokens: int, completion_tokens: int, answers: int) -> None:
    """Count a batch of answers that was stored."""
    TOKENS.labels(teacher, "prompt").inc(prompt_tokens)
    TOKENS.labels(teacher, "completion").inc(completion_tokens)
    ANSWERS.labels(teacher).inc(answers)


def completion_tokens() -> float:
    """The completion tokens that this process has stored since it started, of all teachers."""
    return sum(
        sample.value
        for metric in TOKENS.collect()
        for sample in metric.samples
        if sample.name == "persyn_tokens_total" and sample.labels["kind"] == "completion"
    )
