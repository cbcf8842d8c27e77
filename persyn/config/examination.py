"""An examination as a run: the base student and one that was trained answer every prompt of a set, greedily.

The base is the same teacher in each, so that it answers a set once, whoever is examined on it.
"""

from persyn.config.rerouting import is_checked
from persyn.config.run import RunConfig
from persyn.config.scorers import Consensus, Imported, QualityScorer
from persyn.config.teachers import Server
from persyn.config.yaml_file import parse_run

STUDENT = "student:"  # before the number of a trained student, where a model is named
_NAME_LENGTH = 63
NO_MEASURE = (Imported, Consensus)  # of a single new answer


def examination(
    config: RunConfig, prompts: str, model_id: int, sha256: str, max_tokens: int, count: int
) -> RunConfig:  # fmt: skip
    """The examination of one of the run's students on the set `prompts` of `count` prompts.

    sha256: of the student's files. A student is served as the run serves a teacher of the same model, if it has one.
    Raises ConfigError.
    """
    student = config.student
    sampling = {"temperature": 0.0, "max_tokens": max_tokens}
    served = {"sampling": sampling, "server": _server(config).model_dump(exclude_unset=True), "family": "student"}
    trained = f"student-{model_id}"
    base = "base" if student.name == trained else student.name
    teachers = [
        {"name": base, "model": student.model, "revision": student.revision, **served},
        {"name": trained, "model": f"{STUDENT}{model_id}", "revision": sha256, **served},
    ]
    quality = [scorer.model_dump(mode="json") for scorer in _measures(config)]
    given = {
        "name": name(model_id, prompts),
        "prompts": prompts,
        "student": student.model_dump(mode="json", exclude={"training"}),
        "teachers": teachers,
        "scorers": {"quality": quality, "learnability": "none", "score": "calibration"},
        "alpha": 0.0,
        "calibration": {"size": max(2, count), "missing_at_most": 1.0},
        "policy": "strong",
        "reroute": "off",
    }
    return parse_run(given, source=f"the examination {given['name']}")


def gives_shares(config: RunConfig) -> bool:
    """Whether an answer in an examination of the run's students is right or wrong, and nothing between."""
    return is_checked(_measures(config))


def _measures(config: RunConfig) -> list[QualityScorer]:
    return [scorer for scorer in config.scorers.quality if not isinstance(scorer, NO_MEASURE)]


def name(model_id: int, prompts: str) -> str:
    """The run's name."""
    return f"student-{model_id}.{prompts}"[:_NAME_LENGTH]


def _server(config: RunConfig) -> Server:
    own = config.student.model
    same = (one.server for one in config.teachers if one.model == own and one.endpoint is None)
    return next(same, Server())
