"""Which answers become rows, and that each of the others is counted once."""

from typing import Any

import pytest

from persyn.config import Export
from persyn.exports.layouts import RowForm
from persyn.exports.selection import Rules, Tally, training_rows
from persyn.exports.splits import Splits

SHAPE = RowForm("prompt_completion")


@pytest.mark.parametrize(
    ("flaws", "keep", "left_out"),
    [
        ([], [], None),
        (["wrong"], [], "wrong"),
        (["wrong"], ["wrong"], None),
        (["cut", "wrong"], [], "cut"),
        (["cut", "wrong"], ["cut"], "wrong"),  # who keeps cut answers does not ask for wrong ones
        (["cut", "wrong"], ["wrong"], "cut"),
        (["cut", "wrong"], ["wrong", "cut"], None),
        (["empty"], "all", None),
    ],
)
def test_an_answer_leaves_where_all_its_flaws_are_kept(
    make_answer: Any, flaws: list[str], keep: Any, left_out: str | None
) -> None:
    tally = Tally()
    rows = list(training_rows([make_answer(flaw_words=flaws)], Rules(Export(keep=keep), SHAPE, Splits(0.0, 0)), tally))
    assert len(rows) == (left_out is None)
    assert tally.left_out == ({left_out: 1} if left_out else {})
    assert tally.flawed == (dict.fromkeys(flaws, 1) if not left_out else {})


def test_an_unchecked_answer_leaves_and_is_counted(make_answer: Any) -> None:
    tally = Tally()
    answers = [make_answer(), make_answer(checked=False, quality=None)]
    assert len(list(training_rows(answers, Rules(Export(), SHAPE, Splits(0.0, 0)), tally))) == 2
    assert (tally.unchecked, tally.by_teacher) == (1, {"small": 2})


def test_verl_takes_no_prompt_without_a_reference_answer(make_answer: Any) -> None:
    tally, export = Tally(), Export(layout="verl", formats=["parquet"])
    answers = [make_answer(), make_answer(reference_answer="")]
    assert len(list(training_rows(answers, Rules(export, RowForm("verl"), Splits(0.0, 0)), tally))) == 1
    assert tally.left_out == {"no_reference_answer": 1}
