"""Checks a run before anything is spent: the set, the models, the keys, each endpoint; then what it would take."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from persyn import runs, set_needs
from persyn.config import MathVerify, RunConfig, Settings
from persyn.config.mistakes import closest
from persyn.errors import NotFound, PersynError
from persyn.inference import model_files
from persyn.jobs import workers
from persyn.preflight import endpoints, estimate, models
from persyn.preflight.report import Finding, Report
from persyn.stages import calibrate


def check(engine: Engine, config: RunConfig, settings: Settings, *, with_worker: bool) -> Report:
    """Whether the run could start, and what it would take. Nothing is written, and no endpoint is asked where
    something else is wrong already.

    `with_worker`: a worker for everything shall run on this host, so that this host must have all that it needs.
    """
    with engine.connect() as conn:
        elsewhere = not with_worker and _works_elsewhere(conn)
    findings, known = _tables(engine, config)
    findings += models.check(config, with_worker=with_worker, elsewhere=elsewhere)
    blocked = any(finding.wrong for finding in findings)
    findings += endpoints.keys(config, elsewhere=elsewhere)
    replies = [] if blocked else endpoints.ask_all(config)
    findings += [finding for reply in replies for finding in reply.findings]
    report = Report(
        run=config.name, prompts=None, calibration=0, teachers=len(config.teachers), findings=findings,
        needs=[*endpoints.needs(config), *models.needs(config)],
        answered=[reply.owner for reply in replies if reply.answered],
        stages=[], cost_at_most=None, disk_bytes=None, assumptions=[],
    )  # fmt: skip
    return report if known is None else _with_estimate(report, config, known, _probes(config, replies), settings)


def has_begun(engine: Engine, config: RunConfig) -> bool:
    """Whether the run is in the tables already."""
    with engine.connect() as conn:
        try:
            return runs.find(conn, config.name) > 0
        except NotFound:
            return False


def _works_elsewhere(conn: Connection) -> bool:
    """Whether a worker runs on another host."""
    gone = (workers.WorkerState.STOPPED, workers.WorkerState.GONE)
    return any(worker.host != socket.gethostname() and worker.state not in gone for worker in workers.workers(conn))


def _tables(engine: Engine, config: RunConfig) -> tuple[list[Finding], estimate.Sizes | None]:
    """The tables' objections to the run, and the numbers that it would find in them."""
    try:
        with _rehearsed(engine, config) as (conn, run_id):
            known = estimate.sizes(conn, run_id, config)
    except PersynError as exc:
        about, colon, told = str(exc).partition(": ")
        guess = _set_that_was_meant(engine, config) if isinstance(exc, NotFound) else ""
        return [Finding(True, about if colon else "name", (told if colon else str(exc)) + guess)], None
    return list(_worth_knowing(config, known)), known


def _set_that_was_meant(engine: Engine, config: RunConfig) -> str:
    with engine.connect() as conn:
        meant = closest(config.prompts, conn.execute(text("SELECT name FROM prompt_set ORDER BY name")).scalars())
    return f" Did you mean the set {meant}?" if meant else ""


@contextmanager
def _rehearsed(engine: Engine, config: RunConfig) -> Iterator[tuple[Connection, int]]:
    """The run with its calibration sample, made as it will be and then taken back: what refuses it there does here."""
    with engine.connect() as conn, conn.begin() as transaction:
        run_id = runs.create(conn, config)
        if config.router.of is None:
            calibrate.select(
                conn, run_id, prompt_set_id=runs.load(conn, run_id).prompt_set_id, size=config.calibration.size,
                validation=config.calibration.validation, seed=config.seed,
            )  # fmt: skip
        yield conn, run_id
        transaction.rollback()


def _worth_knowing(config: RunConfig, known: estimate.Sizes) -> Iterator[Finding]:
    if config.router.of is not None:
        told = f"the router of {config.router.of} routes, so nothing is asked for calibration and nothing is trained."
        yield Finding(False, "router.of", told)
    if advice := set_needs.advice(config, known.prompts):
        yield Finding(False, *advice)
    checked = any(isinstance(scorer, MathVerify) for scorer in config.scorers.quality)
    without = known.prompts - known.with_reference
    scored = config.router.of is None or config.scorers.score == "all"
    if checked and without and scored:
        told = f"{without:,} of {known.prompts:,} prompts have no reference_answer, so math_verify cannot check them."
        told += " Of several answers to one of them the first is taken." if config.asks_several_times else ""
        yield Finding(False, "prompts", told)
    if known.with_tools and config.measures():
        yield from _student_without_tools(config, known)
    for number, teacher in enumerate(config.teachers if config.router.of is None else ()):
        missing = known.calibration - known.calibrated.get(teacher.name, 0)
        if teacher.model is None and missing:
            told = (
                f"its answers are all imported, and {missing:,} of {known.calibration:,} calibration prompts have none."
                " Import them with `persyn generations import`, or give it a model."
            )
            yield Finding(False, f"teachers[{number}].model", told)


def _student_without_tools(config: RunConfig, known: estimate.Sizes) -> Iterator[Finding]:
    """Wrong where not one answer could be scored; the template's text tells, because nothing is loaded here."""
    template = model_files.chat_template(config.student.model, config.student.revision)
    if template is not None and "tools" not in template:
        told = (
            f"its chat template knows no tools, so answers to {known.with_tools:,} of {known.prompts:,} prompts get no"
            " learnability. Choose a student whose template knows them, or set alpha: 0 and leave"
            " scorers.learnability out."
        )
        yield Finding(known.with_tools == known.prompts, "student.model", told)


def _probes(config: RunConfig, replies: list[endpoints.EndpointReply]) -> dict[str, estimate.Probe]:
    by_owner = {reply.owner: reply for reply in replies if reply.seconds is not None}
    named = {teacher.name: by_owner.get(f"teacher {teacher.name}") for teacher in config.teachers}
    return {name: estimate.Probe(reply.seconds or 0.0, reply.tokens or 0) for name, reply in named.items() if reply}


def _with_estimate(
    report: Report, config: RunConfig, known: estimate.Sizes, probes: dict[str, estimate.Probe], settings: Settings
) -> Report:
    asked = estimate.expected(config, known, probes)
    stages = estimate.stages(config, known, asked)
    disk = estimate.disk_bytes(known, stages)
    return report._replace(
        prompts=known.prompts,
        calibration=known.calibration,
        findings=[*report.findings, *_room(disk, settings)],
        stages=stages,
        cost_at_most=estimate.cost_at_most(config, asked, known),
        disk_bytes=disk,
        assumptions=estimate.assumptions(config, known, asked, probes),
    )


def _room(disk: int, settings: Settings) -> Iterator[Finding]:
    """The embedded database stands on this host's disk."""
    if settings.database_url is not None or not settings.home.is_dir():
        return
    free = shutil.disk_usage(settings.home).free
    if disk > free:
        told = f"the run adds about {disk / 1e9:.1f} GB to the database, and {free / 1e9:.1f} GB are free. Make room."
        yield Finding(True, f"PERSYN_HOME ({settings.home})", told)
