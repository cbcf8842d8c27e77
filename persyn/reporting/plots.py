"""Plots, as files. Each takes plain numbers and draws them; what they mean is decided elsewhere.

Figures are made without pyplot, which keeps global state and looks for a display.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from persyn.errors import InputError

FORMATS = ("svg", "png", "pdf")
DPI = 200  # of a PNG


def alpha_sweep(
    path: Path,
    *,
    title: str,
    teachers: Sequence[str],
    alphas: Sequence[float],
    shares: Sequence[Sequence[float]],
    quality: Sequence[float],
    learnability: Sequence[float],
    own_alpha: float,
) -> None:
    """Shares of the teachers (A, M) stacked over α, and the mean raw scores (A,) of the chosen answers below.

    own_alpha: the run's own α, which a line marks. Raises InputError where the file cannot be written.
    """
    figure = Figure(figsize=(7.0, 7.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    columns = [[row[teacher] for row in shares] for teacher in range(len(teachers))]
    above.stackplot(alphas, *columns, labels=teachers, colors=_colours(len(teachers)))
    above.set(title=title, ylabel="share of the prompts", ylim=(0, 1))
    above.margins(x=0.0)
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", reverse=True)  # as they are stacked
    # Colours mean teachers here, so the two lines are told apart by their strokes.
    left = below.plot(alphas, quality, "o-", color="black", clip_on=False, label="mean quality (left)")
    below.set(xlabel="α", ylabel="mean quality")
    other = below.twinx()
    right = other.plot(alphas, learnability, "s--", color="dimgray", clip_on=False, label="mean learnability (right)")
    other.set(ylabel="mean learnability")
    for axes in (above, below):
        mark = axes.axvline(own_alpha, color="black", linestyle=":", label=f"α of the run: {own_alpha:g}")
    below.legend(
        handles=[*left, *right, mark], loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, fontsize="small"
    )
    save(figure, path)


def _colours(count: int) -> list[Any]:
    """A colour for each teacher; of more than ten, two neighbours are shades of one."""
    name = "tab10" if count <= 10 else "tab20"
    return [matplotlib.colormaps[name](number % matplotlib.colormaps[name].N) for number in range(count)]


def learning_curve(path: Path, *, title: str, points: Sequence[Mapping[str, Any]]) -> None:
    """The router's mean reward with its interval, and the static best's, over the calibration prompts trained on.

    points: those of `router.evaluation.curve`. Raises InputError where the file cannot be written.
    """
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    sizes = [point["prompts"] for point in points]
    means, low, high = zip(*(point["mean_reward"] for point in points), strict=True)
    axes.fill_between(sizes, low, high, color="tab:blue", alpha=0.2, label="router, 95% interval")
    axes.plot(sizes, means, "o-", color="tab:blue", label="router")
    axes.plot(sizes, [point["static_mean_reward"] for point in points], "s--", color="tab:gray", label="static best")
    axes.set(title=title, xlabel="calibration prompts", ylabel="mean reward", xscale="log")
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    save(figure, path)


def reroute_frontier(path: Path, *, title: str, rows: Sequence[Any], rivals: Sequence[Any]) -> None:
    """The mean quality with its interval over the answers to a prompt, by rerouting and by a static order.

    rows, rivals: `reporting.rerouting.PlanRow`. Raises InputError where the file cannot be written.
    """
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    asked, ordered = (sorted(points, key=lambda row: row.answers) for points in (rows, [rows[0], *rivals]))
    answers = [row.answers for row in asked]
    means, low, high = zip(*(row.quality for row in asked), strict=True)
    axes.fill_between(answers, low, high, color="tab:blue", alpha=0.2, label="95% interval")
    axes.plot(answers, means, "o-", color="tab:blue", label="rerouting")
    along = [row.answers for row in ordered]
    axes.plot(along, [row.quality[0] for row in ordered], "s--", color="tab:gray", label="static order")
    for row in rows:
        if row.is_own:
            axes.plot(row.answers, row.quality[0], "D", color="tab:red", label=f"the run's own: {row.name}")
    axes.set(title=title, xlabel="answers to a prompt", ylabel="mean quality")
    axes.legend(fontsize="small", loc="lower right")
    save(figure, path)


def policy_results(
    path: Path, *, title: str, labels: Sequence[str], results: Sequence[Any], own: str, axis: str
) -> None:  # fmt: skip
    """A dot with its 95% interval for each policy's students, the first above; the run's own is marked.

    results: each with mean, low and high. Raises InputError where the file cannot be written.
    """
    figure = Figure(figsize=(7.0, 1.4 + 0.4 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for place, (label, result) in enumerate(zip(labels, results, strict=True)):
        colour = "tab:red" if label == own else "tab:blue"
        axes.plot((result.low, result.high), (place, place), "-", color=colour, linewidth=2)
        axes.plot(result.mean, place, "D" if label == own else "o", color=colour)
        if label == own:
            axes.axvline(result.mean, color=colour, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(labels)), labels=list(labels))
    axes.set(title=title, xlabel=f"{axis}, with 95% interval", ylim=(len(labels) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    save(figure, path)


def kind_of(path: Path) -> str:
    """The format that the file's name ends in. Raises InputError for a name that ends in none of FORMATS."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"{path}: plots are written as {', '.join(FORMATS)}. Give the file a name that ends in one.")
    return kind


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format that the file's name ends in; the same figure gives the same SVG.

    Raises InputError.
    """
    kind = kind_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "persyn", "text.parse_math": False}):
            figure.savefig(path, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    except OSError as exc:
        raise InputError(f"{path}: cannot be written: {exc}.") from exc
