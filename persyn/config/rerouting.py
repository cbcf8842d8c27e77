"""The options of rerouting: when a prompt's answer is not good enough, and whether another teacher is worth asking."""

from typing import Any, Literal

from pydantic import Field

from persyn.config.scorers import Imported, MathVerify, QualityScorer
from persyn.config.strict import Share, Strict

_RANGES = {"math_verify": (0.0, 1.0), "consensus": (0.0, 1.0), "judge": (1.0, 10.0)}  # of raw values
# Right; or what a strict majority says: half of the others and this answer's own teacher.
_VERDICTS = {"math_verify": 1.0, "consensus": 0.5}

PriceUnit = Literal["answers", "tokens", "cost"]


class Reroute(Strict):
    """Ask another teacher where the measured quality of a prompt's answers so far is below the bar."""

    attempts: int = Field(default=3, ge=2, le=64, description="answers to a prompt at most, the routed one among them")
    bar: float | None = Field(
        default=None,
        description="raw quality that is good enough; none: 1 for math_verify, 0.5 for consensus, else by the quantile",
    )
    quantile: Share = Field(default=0.5, description="of the calibration answers' raw quality: the bar, if none is set")
    least_gain: float = Field(
        default=0.05,
        ge=0.0,
        description="ask nobody whose expected improvement is less, as a share of the range from bad to good answers",
    )
    price: PriceUnit = Field(default="answers", description="what an answer costs: 1, its tokens, or its money")
    budget: float | None = Field(
        default=None, gt=0.0, description="in units of the price, for all answers of a prompt on average"
    )
    per: Literal["prompt", "run"] = Field(default="prompt", description="whether the budget is a prompt's or the run's")
    below_bar: Literal["keep", "drop", "separate"] = Field(
        default="keep",
        description="whether an export takes what stays below the bar, or puts it into files of its own; a wrong answer"
        " never leaves",
    )


def as_reroute(value: Any) -> Any:
    """`on` and `off` in the ways in which YAML reads them."""
    if value is True or value == "on":
        return {}
    return "off" if value is False else value


def check_bar(bar: float, scorers: list[QualityScorer]) -> None:
    """Raises ValueError where every answer reaches the bar, or none can."""
    weighed = [scorer for scorer in scorers if scorer.weight]
    ranges = [_RANGES.get(scorer.kind) for scorer in weighed]
    known = [span for span in ranges if span is not None]
    if len(known) < len(ranges):
        return
    low, high = min(span[0] for span in known), max(span[1] for span in known)
    if not low < bar <= high:
        kinds = " and ".join(scorer.kind for scorer in weighed)
        raise ValueError(f"reroute.bar: {kinds} gives {low:g} to {high:g}. Give a bar above {low:g}, up to {high:g}")


def is_measured(scorers: list[QualityScorer]) -> bool:
    """Whether a new answer's quality can be measured: an imported one is none of it."""
    return not any(isinstance(scorer, Imported) and scorer.weight for scorer in scorers)


def verdict_bar(scorers: list[QualityScorer]) -> float | None:
    """The bar where the quality is a verdict on the final answer; None where it is a grade, or several qualities."""
    kinds = {scorer.kind for scorer in scorers if scorer.weight}
    return _VERDICTS.get(kinds.pop()) if len(kinds) == 1 else None


def is_checked(scorers: list[QualityScorer]) -> bool:
    """Whether the quality says right or wrong, by a reference answer."""
    weighed = [scorer for scorer in scorers if scorer.weight]
    return all(isinstance(scorer, MathVerify) for scorer in weighed)
