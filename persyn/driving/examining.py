"""Examines a run's trained students on a set: one run after the other, each looked over before anything is asked."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from persyn import runs, set_needs
from persyn.config import MathVerify, RunConfig
from persyn.config.examination import NO_MEASURE, examination, name
from persyn.errors import ConfigError
from persyn.exports.leaks import Leak, leaks

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MAX_TOKENS = 1024
_SHOWN = 5

_STUDENTS = text("""
SELECT DISTINCT m.id, m.artifact_sha256 AS sha256
FROM student_training t JOIN student_model m ON m.id = t.model_id
WHERE t.run_id = ANY(:run_ids) ORDER BY m.id
""")
_BARE = text("SELECT count(*) FROM prompt WHERE prompt_set_id = :set_id AND reference_answer IS NULL")


class Examination(NamedTuple):
    """One that is to be made, or to be gone on with."""

    model_id: int
    config: RunConfig
    leaks: list[Leak]


def plan(
    engine: "Engine", run: str, prompts: str, model_ids: Sequence[int] = (), max_tokens: int | None = None, *,
    allow_leaks: bool = False,
) -> list[Examination]:  # fmt: skip
    """The examinations of these students, or of all that the run and those beside it have; nothing is made yet.

    Raises NotFound, and ConfigError where the set or a student does not fit, where a student was examined otherwise
    before, or where problems leak.
    """
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
        own = runs.load(conn, run_id)
        exam_set = set_needs.find(conn, prompts)
        _require_fit(conn, own, prompts, exam_set)
        every = _students(conn, own)
        students = _chosen(own, every, model_ids)
        limit = _limit(conn, prompts, every, max_tokens)
        leaked = leaks(conn, exam_set.id, list(students))
        configs = {
            model_id: _config(conn, own.config, prompts, model_id, sha256, limit, exam_set.prompts)
            for model_id, sha256 in students.items()
        }
        for config in configs.values():
            set_needs.check(conn, config)
    if not allow_leaks:
        _refuse_leaks(prompts, leaked)
    return [Examination(model_id, config, leaked[model_id]) for model_id, config in configs.items()]


def begin(engine: "Engine", planned: Examination) -> int:
    """The id of the examination's run, made if it is new."""
    with engine.begin() as conn:
        return runs.create(conn, planned.config)


def _require_fit(conn: "Connection", own: runs.Run, prompts: str, exam_set: set_needs.SetSize) -> None:
    if exam_set.id == own.prompt_set_id:
        raise ConfigError(
            f"--prompts {prompts}: it is the set that run {own.name} learns from. Import problems that no student has"
            " seen as a set of their own: `persyn prompts import FILE --set NAME`."
        )
    if all(isinstance(scorer, NO_MEASURE) for scorer in own.config.scorers.quality):
        raise ConfigError(
            f"Run {own.name} imports its qualities or measures agreement; neither tells how good one answer is."
            " Examine the student of a run with another scorer, such as math_verify."
        )
    if any(isinstance(scorer, MathVerify) for scorer in own.config.scorers.quality):
        bare = conn.execute(_BARE, {"set_id": exam_set.id}).scalar_one()
        if bare:
            raise ConfigError(
                f"--prompts {prompts}: {bare:,} of its {exam_set.prompts:,} prompts have no reference_answer, which"
                f" math_verify checks answers against. `persyn prompts update FILE --set {prompts} --map"
                " reference_answer=COLUMN` adds them."
            )


def _students(conn: "Connection", own: runs.Run) -> dict[int, str]:
    """The sha256 of the files of each student of the run and of those beside it."""
    found = conn.execute(_STUDENTS, {"run_ids": runs.beside(conn, own.id)})
    students = {row.id: row.sha256 for row in found}
    if not students:
        raise ConfigError(
            f"Run {own.name} has no trained student. `persyn student train {own.name}` asks for one, and a worker with"
            " --trainers or --all trains it."
        )
    return students


def _chosen(own: runs.Run, students: dict[int, str], model_ids: Sequence[int]) -> dict[int, str]:
    strange = [model_id for model_id in model_ids if model_id not in students]
    if strange:
        raise ConfigError(
            f"--student {strange[0]}: it is no student of run {own.name} or of a variant of it; there are"
            f" {', '.join(map(str, students))}."
        )
    return {model_id: sha256 for model_id, sha256 in students.items() if model_id in model_ids or not model_ids}


def _limit(conn: "Connection", prompts: str, model_ids: Iterable[int], given: int | None) -> int:
    """The limit of tokens, one for all students on a set: the given one, that of former examinations, or the usual."""
    for model_id in model_ids:
        if (former := _former(conn, prompts, model_id)) is None:
            continue
        limit = former.teachers[-1].sampling.max_tokens
        if given not in (None, limit):
            raise ConfigError(
                f"--max-tokens {given}: student {model_id} was examined on {prompts} with {limit}, and those that are"
                f" compared have one limit. Leave it out, or take {former.name} away by `persyn runs delete`."
            )
        return limit
    return given or MAX_TOKENS


def _former(conn: "Connection", prompts: str, model_id: int) -> RunConfig | None:
    """The configuration of the examination of this student that exists."""
    run_id = runs.known(conn, name(model_id, prompts))
    return None if run_id is None else runs.load(conn, run_id).config


def _config(
    conn: "Connection", config: RunConfig, prompts: str, model_id: int, sha256: str, max_tokens: int, count: int
) -> RunConfig:
    """The stored one, if there is one. Raises ConfigError where that examined other files."""
    former = _former(conn, prompts, model_id)
    if former is None:
        return examination(config, prompts, model_id, sha256, max_tokens, count)
    if former.teachers[-1].revision != sha256:
        raise ConfigError(
            f"Student {model_id} was trained again since it was examined on {prompts}. `persyn runs delete"
            f" {former.name}` takes that examination away."
        )
    return former


def _refuse_leaks(prompts: str, leaked: dict[int, list[Leak]]) -> None:
    problems = {leak.prompt_id: leak.shown for found in leaked.values() for leak in found}
    if problems:
        first = ", ".join([*problems.values()][:_SHOWN]) + (", …" if len(problems) > _SHOWN else "")
        raise ConfigError(
            f"--prompts {prompts}: {len(problems):,} of its problems are like prompts that the students learnt:"
            f" {first}. Take them out, or examine all the same with --allow-leaks, and every report says so."
        )
