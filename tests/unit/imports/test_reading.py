"""The user's choices against the shapes: --map, --as and --ignore, and the report of what was taken."""

import pytest

from persyn.errors import ConfigError
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.reading import MAX_PLANS, Reading

ALPACA = {"instruction": "Translate.", "input": "Good", "output": "Bon"}


def content(record: object, reading: Reading) -> str:
    prompt = canonical(record, reading)
    return prompt if isinstance(prompt, str) else prompt.messages[-1]["content"]


def test_a_mapped_column_goes_before_the_shapes_and_the_rest_stays() -> None:
    reading = Reading.parse(["prompt=query", "reference_answer=gold"])
    prompt = canonical({"query": "1+1?", "gold": 2, "id": 7, "prompt": "unused"}, reading)
    assert isinstance(prompt, Prompt)
    assert (prompt.external_id, prompt.reference_answer, prompt.meta) == ("7", "2", {"prompt": "unused"})
    assert prompt.messages == [{"role": "user", "content": "1+1?"}]


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (["prompt={instruction}\\n\\n{input}"], "Translate.\n\nGood"),
        (["prompt={input} / {instruction}"], "Good / Translate."),
        (["system=input", "prompt=instruction"], "Translate."),
    ],
)
def test_a_template_says_how_columns_are_put_together(maps: list[str], expected: str) -> None:
    assert content(ALPACA, Reading.parse(maps)) == expected


def test_a_part_of_the_prompt_is_never_dropped_in_silence() -> None:
    refusal = content(ALPACA, Reading.parse(["prompt=instruction"]))
    assert refusal.startswith(r"has input, which would be lost; --map 'prompt={instruction}\n\n{input}' takes it in")
    assert content(ALPACA, Reading.parse(["prompt=instruction"], ignored=["input"])) == "Translate."
    assert content(ALPACA | {"input": " "}, Reading.parse(["prompt=instruction"])) == "Translate."
    assert content({"prompt": "About: Good", "context": "Good"}, Reading()) == "About: Good", "nothing is lost"
    choices = content({"prompt": "Which?", "choices": ["a", "b"]}, Reading())
    assert choices.startswith("has choices, which would be lost")
    assert choices.endswith("--ignore choices imports the prompt without it")
    image = {"prompt": "Hi", "images": ["x.png"]}
    assert content(image, Reading()).startswith("has images, which PerSyn can give to no teacher")
    assert content(image, Reading.parse(ignored=["images"])) == "Hi"
    assert content(image | {"images": []}, Reading()) == "Hi"


def test_a_prompt_as_messages_can_be_mapped() -> None:
    assert content({"prompt": [{"role": "user", "content": "Hi"}]}, Reading.parse(["messages=prompt"])) == "Hi"


def test_the_user_may_name_the_shape() -> None:
    record = {"prompt": "unused", "instruction": "Name", "input": "one"}
    assert content(record, Reading.parse(shape="alpaca")) == "Name\n\none"
    assert content({"question": "x"}, Reading.parse(shape="gsm8k")).startswith("x")
    assert content({"text": "x"}, Reading.parse(shape="alpaca")).startswith("is no alpaca record")
    with pytest.raises(ConfigError, match="Did you mean alpaca"):
        Reading.parse(shape="alpacca")


@pytest.mark.parametrize(
    "maps", [["question"], ["prompt="], ["text=a"], ["prompt=a", "prompt=b"], ["prompt=a", "id=a"]]
)
def test_a_mapping_that_makes_no_sense_is_refused(maps: list[str]) -> None:
    with pytest.raises(ConfigError, match="--map"):
        Reading.parse(maps)


@pytest.mark.parametrize(
    ("maps", "ignored"), [(["prompt=questoin"], []), (["prompt={questoin}"], []), (["prompt=question"], ["anwser"])]
)
def test_a_column_that_no_record_has_is_told_with_the_likely_one(maps: list[str], ignored: list[str]) -> None:
    reading = Reading.parse(maps, ignored=ignored)
    canonical({"question": "x", "answer": None}, reading)
    with pytest.raises(ConfigError, match=r"Did you mean (question|answer)\? The columns are question, answer"):
        reading.check_columns()
    good = Reading.parse(["prompt=question", "reference_answer=answer"])
    canonical({"question": "x", "answer": None}, good)
    good.check_columns()


def test_records_without_a_shape_are_told_their_columns_and_a_flag() -> None:
    assert content({"query": "x", "level": 1}, Reading()) == (
        "has neither prompt nor messages, but query, level; try --map prompt=query"
    )


def test_the_report_says_where_each_field_was_read() -> None:
    reading = Reading()
    for record in (ALPACA, ALPACA, {"id": 1, "prompt": "x"}, {"prompt": ""}):
        canonical(record, reading)
    first, second = reading.taken()
    assert (first.shape, first.prompts, first.answers) == ("alpaca", 2, 2)
    assert first.fields == {"prompt": "instruction, then input", "answer": "output"}
    assert (second.shape, second.prompts, second.fields) == ("prompt", 1, {"id": "id", "prompt": "prompt"})


def test_keys_without_end_take_no_memory_without_end() -> None:
    reading = Reading()
    for number in range(3 * MAX_PLANS):
        canonical({"prompt": "x", f"key {number}": 1}, reading)
    assert len(reading._plans) <= MAX_PLANS
    assert reading.taken()[0].prompts == 3 * MAX_PLANS
