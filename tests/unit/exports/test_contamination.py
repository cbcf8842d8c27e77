"""Rows that hold an item of a benchmark, and those that only look like one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.config import Export
from persyn.errors import InputError
from persyn.exports.contamination import Benchmarks
from persyn.exports.layouts import RowForm
from persyn.exports.selection import Rules, Tally, training_rows
from persyn.exports.splits import Splits

ITEM = "Ann has 12 red pens and 5 blue ones, gives 3 to Ben, and buys 4 more. How many pens has she?"
WORDS = ITEM.split()


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmarks:
    file = tmp_path / "test.jsonl"
    items = [{"question": ITEM}, {"question": "What is 2+2?"}]
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    return Benchmarks.of_files([file])


@pytest.mark.parametrize(
    ("asked", "text", "found"),
    [
        (ITEM, "17", ("test.jsonl", 1, "prompt")),
        (ITEM.upper().replace(",", " ;"), "17", ("test.jsonl", 1, "prompt")),  # another spelling
        (f"Please: {' '.join(WORDS[:13])} …", "17", ("test.jsonl", 1, "prompt")),  # 13 words in a row
        (" ".join(["well", *WORDS[:10], "x", *WORDS[10:]]), "17", ("test.jsonl", 1, "prompt")),  # half of the runs
        ("Tell me a sum.", f"Sure. {ITEM}", ("test.jsonl", 1, "answer")),
        ("what is 2 + 2", "4", ("test.jsonl", 2, "prompt")),
        ("What is 2+2? And what is 3+3?", "4 and 6", None),  # a short item stands in many texts
        (ITEM.replace("12", "13").replace("5", "6").replace("3 to", "2 to").replace("4", "7"), "17", None),
        (" ".join(WORDS[:9]), "17", None),
        ("", "", None),
    ],
)
def test_an_item_is_found_in_prompt_or_answer(
    make_answer: Any, benchmark: Benchmarks, asked: str, text: str, found: Any
) -> None:
    answer = make_answer(messages=[{"role": "user", "content": asked}], text=text)
    match = benchmark.match(answer)
    assert (match and (match.benchmark, match.item, match.place)) == found


@given(st.lists(st.sampled_from("abcdefgh"), min_size=13, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_long_item_is_found_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], before: str, after: str
) -> None:
    from tests.unit.exports.conftest import answer

    file = tmp_path_factory.mktemp("benchmark") / "items.txt"
    file.write_text(" ".join(words) + "\n")
    asked = f"{before} {' '.join(words)} {after}"
    assert Benchmarks.of_files([file]).match(answer(messages=[{"role": "user", "content": asked}])) is not None


def test_a_contaminated_row_is_left_out_and_reported(make_answer: Any, benchmark: Benchmarks) -> None:
    tally = Tally()
    answers = [make_answer(), make_answer(text=ITEM)]
    rules = Rules(Export(), RowForm("messages"), Splits(0.0, 0), benchmark)
    assert len(list(training_rows(answers, rules, tally))) == 1
    assert tally.left_out == {"contaminated": 1}
    ((answer, match),) = tally.matches
    assert (answer.text, match.cover, match.words) == (ITEM, 1.0, "ann has 12 red pens and 5 blue ones gives 3 to ben")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", '{"q": "x"}\n', "line 1 has none of prompt, question"),
        ("a.jsonl", "{\n", "cannot be read as lines of JSON"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_benchmark_is_one_sentence(tmp_path: Path, name: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=told):
        Benchmarks.of_files([tmp_path / name])
