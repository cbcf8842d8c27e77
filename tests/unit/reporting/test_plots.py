"""`reporting.plots`: files that are what their names say, and that do not change by themselves."""

from pathlib import Path

import pytest

from persyn.errors import InputError
from persyn.reporting import plots

MAGIC = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def draw(path: Path, name: str = "a") -> bytes:
    plots.alpha_sweep(
        path,
        title="run $x_1$ & <b>",
        teachers=[name, "b"],
        alphas=[0.0, 0.5, 1.0],
        shares=[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]],
        quality=[1.0, 0.8, 0.2],
        learnability=[-2.0, -1.5, -1.0],
        own_alpha=0.4,
    )
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_a_plot_is_written_in_the_format_of_its_name(tmp_path: Path, kind: str) -> None:
    assert draw(tmp_path / "new" / f"sweep.{kind}").startswith(MAGIC[kind])


def test_the_same_numbers_give_the_same_svg(tmp_path: Path) -> None:
    assert draw(tmp_path / "one.svg") == draw(tmp_path / "two.svg")


def test_the_runs_own_alpha_is_marked_and_the_legend_follows_the_stack(tmp_path: Path) -> None:
    drawn = draw(tmp_path / "sweep.svg", name="first").decode()
    assert "<!-- α of the run: 0.4 -->" in drawn
    assert drawn.index("<!-- b -->") < drawn.index("<!-- first -->")


def test_a_single_alpha_beside_the_runs_own_can_be_drawn(tmp_path: Path) -> None:
    plots.alpha_sweep(
        tmp_path / "one.svg", title="one", teachers=["a"], alphas=[0.1], shares=[[1.0]], quality=[1.0],
        learnability=[-1.0], own_alpha=0.4,
    )  # fmt: skip


def test_names_are_text_and_no_formula(tmp_path: Path) -> None:
    draw(tmp_path / "sweep.svg", name="$\\frac{")


@pytest.mark.parametrize("name", ["sweep", "sweep.xls"])
def test_an_unknown_format_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="plots are written as svg, png, pdf"):
        draw(tmp_path / name)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        draw(tmp_path / "file" / "sweep.svg")
