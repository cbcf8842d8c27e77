"""Rows hold the tokens that learnability counted and the end of the turn, and one hash tells two sets apart."""

from pathlib import Path
from typing import Any

import pytest

from persyn.chat import Answered, with_answer
from persyn.errors import ChatError, JobFailed
from persyn.inference.loading import load_tokenizer
from persyn.inference.random_model import build
from persyn.students.dataset import IGNORED, training_set

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tiny")
    return load_tokenizer(build(folder, hidden_size=32), revision=None, owner="It")


def test_a_row_learns_what_learnability_counted_and_the_end(tokenizer: Any) -> None:
    [row] = training_set(tokenizer, [Answered(HI, "Ho!")], 64).rows
    counted = with_answer(tokenizer, HI, "Ho!")
    end = tokenizer.eos_token_id
    assert row.ids == [*counted.ids, end]
    assert row.labels == [IGNORED] * (len(counted.ids) - sum(counted.mask)) + counted.ids[-sum(counted.mask) :] + [end]
    assert end == tokenizer.pad_token_id


def test_what_does_not_fit_is_left_out_whole_and_counted(tokenizer: Any) -> None:
    answers = [Answered(HI, "Ho"), Answered(HI, "x" * 100), Answered([{"role": "user", "content": "y" * 100}], "z")]
    found = training_set(tokenizer, answers, 64)
    assert (len(found.rows), found.left_out) == (1, {"context_too_long": 2})
    assert (found.tokens, found.stop_ids) == (3, [tokenizer.eos_token_id])


def test_a_set_without_a_row_says_what_became_of_its_answers(tokenizer: Any) -> None:
    with pytest.raises(JobFailed, match=r"no answer gives a row .*\(1: longer than student.max_length") as caught:
        training_set(tokenizer, [Answered(HI, "x" * 100)], 64)
    assert (caught.value.code, caught.value.permanent) == ("empty_set", True)
    with pytest.raises(JobFailed, match="there are none"):
        training_set(tokenizer, [], 64)


def test_a_student_without_a_template_is_refused_as_a_whole(tokenizer: Any) -> None:
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        with pytest.raises(ChatError, match="no chat template"):
            training_set(tokenizer, [Answered(HI, "Ho")], 64)
    finally:
        tokenizer.chat_template = template


def test_the_hash_is_that_of_the_rows_and_of_their_order(tokenizer: Any) -> None:
    one, two = Answered(HI, "1"), Answered(HI, "2")
    sha256 = training_set(tokenizer, [one, two], 64).sha256()
    assert training_set(tokenizer, [one, two], 99).sha256() == sha256
    others = [[two, one], [one], [one, two, two], [one, Answered(HI, "3")]]
    assert sha256 not in {training_set(tokenizer, answers, 64).sha256() for answers in others}
