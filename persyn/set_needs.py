"""The needs of a configuration in its prompt set: mistakes are told at once, before any answer is paid for."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn.config import MathVerify, RunConfig
from persyn.errors import ConfigError, NotFound

FEWEST = 4

_SET = text("""
SELECT s.id, (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = s.id) AS prompts,
       EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = s.id AND reference_answer IS NOT NULL) AS checkable,
       (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = s.id AND tools IS NOT NULL) AS with_tools
FROM prompt_set s WHERE s.name = :name
""")


class SetSize(NamedTuple):
    """A set as a run sees it."""

    id: int
    prompts: int
    checkable: bool  # at least one prompt has a reference answer
    with_tools: int = 0


def find(conn: Connection, name: str) -> SetSize:
    """Raises NotFound."""
    row = conn.execute(_SET, {"name": name}).first()
    if row is None:
        raise NotFound(f"prompts: there is no prompt set {name!r}. `persyn prompts import FILE --set {name}` makes it.")
    return SetSize(*row)


def check(conn: Connection, config: RunConfig) -> int:
    """The id of the configuration's prompt set. Raises NotFound, and ConfigError where the two do not fit."""
    prompt_set = find(conn, config.prompts)
    _check_prompts(config, prompt_set)
    _check_tools(config, prompt_set.with_tools)
    if config.router.of is None:
        _check_calibration(config, prompt_set.prompts)
    return prompt_set.id


def _check_prompts(config: RunConfig, prompt_set: SetSize) -> None:
    fewest = FEWEST if config.router.of is None else 1
    if prompt_set.prompts < fewest:
        raise ConfigError(
            f"prompts: the set {config.prompts!r} holds {prompt_set.prompts} prompts; a run needs at least {fewest}."
        )
    scores = config.router.of is None or config.scorers.score == "all"
    if scores and not prompt_set.checkable and any(isinstance(scorer, MathVerify) for scorer in config.scorers.quality):
        unscored = "" if config.router.of is None else " With scorers.score: calibration no routed answer is checked."
        raise ConfigError(
            f"prompts: no prompt of {config.prompts!r} has a reference_answer, which math_verify checks answers"
            f" against. `persyn prompts update FILE --set {config.prompts} --map reference_answer=COLUMN` adds them."
            f"{unscored}"
        )


def _check_tools(config: RunConfig, prompts: int) -> None:
    """Every teacher answers every calibration prompt, and the router compares them all on each: so all take tools."""
    lacking = [teacher.name for teacher in config.teachers if teacher.model is not None and not teacher.tools]
    if prompts and lacking:
        calibrates = config.router.of is None
        why = "every teacher answers the calibration prompts" if calibrates else "the router may choose any teacher"
        raise ConfigError(
            f"teachers: prompts of {config.prompts!r} have tools ({prompts:,}), {why}, and these have no `tools: true`:"
            f" {', '.join(lacking)}. Give it to each whose model can call tools and take the others out, or import the"
            " prompts with `--ignore tools` into another set."
        )


def _check_calibration(config: RunConfig, prompts: int) -> None:
    size, validation = config.calibration.size, config.calibration.validation
    sample = min(size, prompts)
    kept_aside = max(1, round(sample * validation))  # as stages/calibrate.py splits it
    if config.needs_router and kept_aside >= sample:
        raise ConfigError(
            f"calibration.validation: {validation:g} of {sample} calibration prompts leaves none to train the router"
            " on. Give a smaller share, or a larger calibration.size."
        )
    if config.policy == "oracle" and size < prompts:
        raise ConfigError(
            f"calibration.size: the policy oracle decides by measured answers to every prompt, and {size} is less than"
            f" the {prompts} prompts of {config.prompts!r}. Set it to {prompts}, or choose another policy."
        )
    if config.policy == "oracle" and config.asks_several_times:
        raise ConfigError(
            "teachers: the policy oracle takes calibration answers, one of each teacher to a prompt, and asks for no"
            " others. Leave samples out, or choose another policy."
        )
    if config.calibration_answers == "exclude" and size >= prompts:
        raise ConfigError(
            f"calibration.size: all {prompts} prompts of {config.prompts!r} are calibration prompts, and"
            " calibration_answers: exclude leaves them out, so that no row would be left. Give a smaller size, or leave"
            " calibration_answers out."
        )


def advice(config: RunConfig, prompts: int) -> tuple[str, str] | None:
    """A key and what to know of it, where the configuration has every teacher answer every prompt of so many."""
    if config.policy == "oracle" or config.router.of is not None or config.calibration.size < prompts:
        return None
    teachers = len(config.teachers)
    return (
        "calibration.size",
        f"{config.calibration.size} covers all {prompts:,} prompts of {config.prompts!r}: each of {teachers} teachers"
        f" answers each prompt, {prompts * teachers:,} answers, and routing saves none. A smaller size asks for fewer.",
    )
