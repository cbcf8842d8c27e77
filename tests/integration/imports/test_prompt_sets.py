"""The sets and their prompts, as people look at them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from persyn.errors import NotFound
from persyn.imports.prompt_sets import head, list_sets, show
from persyn.imports.prompts import import_prompts


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_sets_are_listed_with_their_sizes(engine: Engine, tmp_path: Path) -> None:
    import_prompts(
        engine, "b", [write(tmp_path / "b.jsonl", [{"prompt": "x", "reference_answer": 1}, {"prompt": "y"}])]
    )
    import_prompts(engine, "a", [write(tmp_path / "a.jsonl", [{"prompt": "x"}])])
    assert [(info.name, info.prompts, info.with_reference_answer) for info in list_sets(engine)] == [
        ("a", 1, 0),
        ("b", 2, 1),
    ]


def test_the_first_prompts_of_a_set_come_in_its_order(engine: Engine, tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "prompt": f"{n}+1?", "reference_answer": n + 1, "level": n} for n in range(9)]
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", rows)])
    first, second = head(engine, "math", 2)
    assert (first.external_id, first.messages[0]["content"], first.reference_answer, first.meta) == (
        "p0", "0+1?", "1", {"level": 0},
    )  # fmt: skip
    assert second.position == 1


def test_a_prompt_is_shown_by_its_id_or_its_number(engine: Engine, tmp_path: Path) -> None:
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", [{"id": "p", "prompt": "a"}, {"prompt": "b"}])])
    [first] = show(engine, "math", "p")
    [by_number] = show(engine, "math", str(first.id))
    assert by_number == first
    with pytest.raises(NotFound, match="no prompt 'q'"):
        show(engine, "math", "q")
    with pytest.raises(NotFound, match="no prompt set 'maths'"):
        show(engine, "maths", "p")
