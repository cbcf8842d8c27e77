"""The teachers' section: how a request may be shaped, and what makes a teacher the same."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from persyn.config import Sampling, Student, Teacher

ENDPOINT = {"url": "http://gpu-1:8000/v1"}
TEACHER: dict[str, Any] = {"name": "t", "family": "f", "model": "m", "endpoint": ENDPOINT}


def teacher(**changes: Any) -> Teacher:
    return Teacher.model_validate(TEACHER | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "other"},
        {"params_b": 7},
        {"endpoint": {"url": "http://gpu-2:8000/v1"}},
        {"endpoint": ENDPOINT | {"api_key_env": "OTHER_KEY"}},
        {"endpoint": ENDPOINT | {"headers": {"X-Team": "a"}, "timeout_s": 3600, "concurrency": 2}},
        {"endpoint": ENDPOINT | {"price": {"input": 1, "output": 2}, "requests_per_minute": 3}},
        {"server": {"dtype": "float16"}},  # nobody starts one
        {"sampling": {"max_completion_tokens": 1024}},  # the default under its other name
    ],
)
def test_what_changes_no_answer_makes_no_other_teacher(changes: dict[str, Any]) -> None:
    assert teacher(**changes).identity() == teacher().identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "u"},
        {"model": "n"},
        {"revision": "r"},
        {"system_prompt": "Think."},
        {"examples": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1"}]},
        {"endpoint": None},
        *({"sampling": sampling} for sampling in [
            {"temperature": 0.5}, {"temperature": None}, {"top_p": 0.9}, {"stop": ["x"]}, {"top_k": 20}, {"min_p": 0.1},
            {"presence_penalty": 1}, {"frequency_penalty": 1}, {"repetition_penalty": 1.1}, {"seed": 1},
            {"reasoning_effort": "low"}, {"chat_template_kwargs": {"enable_thinking": False}},
            {"response_format": {"type": "json_object"}}, {"extra_body": {"x": 1}}, {"max_tokens": 64},
        ]),
    ],
)  # fmt: skip
def test_what_changes_an_answer_makes_another_teacher(changes: dict[str, Any]) -> None:
    assert teacher(**changes).identity() != teacher().identity()


def test_the_limit_of_tokens_alone_changes_no_whole_answer() -> None:
    more = teacher(sampling={"max_tokens": 4096})
    assert more.but_for_the_limit() == teacher().but_for_the_limit()
    assert teacher(sampling={"seed": 1}).but_for_the_limit() != teacher().but_for_the_limit()


@pytest.mark.parametrize(
    ("args", "same"),
    [
        (["--gpu-memory-utilization", "0.8"], True),
        (["--max-num-seqs=4", "--no-enable-prefix-caching"], True),
        (["--quantization", "fp8"], False),
        (["--gpu-memory-utilization", "0.8", "--quantization", "fp8"], False),
    ],
)
def test_what_only_makes_a_server_faster_makes_no_other_teacher(args: list[str], same: bool) -> None:
    own, plain = teacher(endpoint=None, server={"args": args}), teacher(endpoint=None)
    assert (own.identity() == plain.identity()) is same


def test_a_students_label_changes_no_score() -> None:
    student = {"name": "s", "model": "m"}
    assert Student(**student, family="f").identity() == Student(**student).identity()
    assert Student(**student, max_length=99).identity() != Student(**student).identity()


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"n": 4}, "n: one request asks for one answer. For several answers to a prompt give the teacher samples: 4"),
        ({"samples": 2}, "samples: one request asks for one answer"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens and max_completion_tokens are two names of one"),
        ({"extra_body": {"temperature": 1}}, "extra_body.temperature: give it as a key of its own, or leave it out"),
        ({"extra_body": {"stream": True}}, "extra_body.stream: give it as a key of its own, or leave it out"),
        ({"extra_body": {"x": math.inf}}, "finite number"),
    ],
)
def test_a_sampling_that_cannot_be_asked_for_is_told(sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Sampling.model_validate(sampling)
    assert message in refused.value.errors()[0]["msg"]


def test_any_key_that_is_not_sent_otherwise_may_stand_in_the_extra_body() -> None:
    shaped = Sampling.model_validate({"extra_body": {"reasoning_effort": "low", "provider": {"order": ["x"]}}})
    assert shaped.request(1).items() >= {"reasoning_effort": "low", "provider": {"order": ["x"]}}.items()


def test_one_answer_may_be_asked_for_in_words() -> None:
    assert Sampling.model_validate({"n": 1}) == Sampling()


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 0},
        {"temperature": 1, "top_k": 1},
        {"temperature": 1, "seed": None, "extra_body": {"seed": 3}},
    ],
)
def test_several_answers_that_cannot_differ_are_refused(sampling: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="samples: this sampling gives the same answer 4 times"):
        teacher(samples=4, sampling=sampling)


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"temperature": None}, {"temperature": 1, "seed": None}])
def test_several_answers_that_may_differ_are_of_the_same_teacher(sampling: dict[str, Any]) -> None:
    assert teacher(samples=4, sampling=sampling).identity() == teacher(sampling=sampling).identity()


def test_a_teacher_of_imported_answers_gives_no_several() -> None:
    with pytest.raises(ValidationError, match="samples: its answers are all imported"):
        teacher(samples=4, model=None, endpoint=None, sampling={"temperature": 1})


@pytest.mark.parametrize(("seed", "seeds"), [("prompt", [7, 8, 9]), (5, [5, 6, 7]), (None, [7, 8, 9])])
def test_each_of_several_answers_has_a_seed_of_its_own(seed: Any, seeds: list[int]) -> None:
    sampling = Sampling(temperature=1, seed=seed)
    assert [sampling.seed_of(7, index) for index in range(3)] == seeds
    sent = [sampling.request(sampling.seed_of(7, index)).get("seed") for index in range(3)]
    assert sent == ([None] * 3 if seed is None else seeds)


def test_a_stored_sampling_is_read_back_the_same() -> None:
    shaped = Sampling.model_validate({"max_completion_tokens": 64, "temperature": None, "extra_body": {"x": [1, None]}})
    assert shaped.max_tokens == 64
    assert Sampling.model_validate(shaped.model_dump(mode="json")) == shaped


@pytest.mark.parametrize(
    ("model", "name", "family"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", "Mixtral-8x7B-v0.1", "mixtral"),
        ("bundled:smollm2-135m-instruct", "smollm2-135m-instruct", "smollm2"),
        ("/srv/models/my model/", "my-model", "my"),
        ("gpt4", "gpt4", "gpt4"),
        ("owner/" + "x" * 80, "x" * 63, "x" * 63),
    ],
)
def test_a_teacher_is_called_by_its_model_where_nothing_is_given(model: str, name: str, family: str) -> None:
    unnamed = Teacher.model_validate({"model": model})
    assert (unnamed.name, unnamed.family) == (name, family)
    assert Student.model_validate({"model": model}).name == name


def test_what_is_given_stays() -> None:
    given = Teacher.model_validate({"model": "a/B-7b", "name": "mine", "family": "qwen"})
    assert (given.name, given.family) == ("mine", "qwen")
    assert Teacher.model_validate({"model": "a/B-7b", "name": "My-own"}).family == "my"


@pytest.mark.parametrize("nameless", [{}, {"family": "f"}, {"model": "//"}])
def test_a_teacher_without_a_name_needs_a_model(nameless: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="name: missing"):
        Teacher.model_validate(nameless)
