"""Importing into a real Postgres: whole or not at all, once however often, and side by side."""

import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from persyn.errors import ConfigError, InputError, NotFound, ServiceError
from persyn.imports.prompt_sets import list_sets
from persyn.imports.prompts import PromptImport, import_prompts
from persyn.imports.reading import Reading
from persyn.imports.source_pass import ImportProgress


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def stored(engine: Engine, set_name: str = "math") -> list[Any]:
    query = """
        SELECT p.position, p.external_id, p.messages, p.reference_answer, p.meta
        FROM prompt p JOIN prompt_set s ON s.id = p.prompt_set_id
        WHERE s.name = :name ORDER BY p.position
    """
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), {"name": set_name})]


def counts(report: PromptImport) -> tuple[int, int, int, int]:
    return report.read, report.imported, report.duplicates, report.rejected


def test_prompts_are_stored_in_the_files_order_with_all_their_fields(engine: Engine, tmp_path: Path) -> None:
    conversation = [{"role": "system", "content": "brief"}, {"role": "user", "content": "2\t+\\2?\n"}]
    source = write(
        tmp_path / "a.jsonl",
        [
            {"id": "x", "prompt": "1+1?", "reference_answer": "2", "level": 1},
            {"id": 7, "messages": conversation},
        ],
    )
    report = import_prompts(engine, "math", [source])
    assert counts(report) == (2, 2, 0, 0)
    assert report.rejects_path is None
    assert stored(engine) == [
        (0, "x", [{"role": "user", "content": "1+1?"}], "2", {"level": 1}),
        (1, "7", conversation, None, {}),
    ]


def test_importing_again_adds_nothing(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": f"{n}+1?"} for n in range(50)])
    first = import_prompts(engine, "math", [source])
    before = stored(engine)
    second = import_prompts(engine, "math", [source])
    assert counts(second) == (50, 0, 50, 0)
    assert second.set_id == first.set_id
    assert stored(engine) == before


def test_of_equal_prompts_the_first_stays(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"id": 1, "prompt": "a"}, {"id": 2, "prompt": "b"}, {"id": 3, "prompt": "a"}])
    report = import_prompts(engine, "math", [source])
    assert (counts(report), report.repeated) == ((3, 2, 0, 0), 1)
    assert [(row[0], row[1]) for row in stored(engine)] == [(0, "1"), (1, "2")]


def test_a_later_import_goes_on_numbering(engine: Engine, tmp_path: Path) -> None:
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", [{"id": 1, "prompt": "a"}])])
    import_prompts(engine, "math", [write(tmp_path / "b.jsonl", [{"id": 1, "prompt": "a"}, {"id": 2, "prompt": "b"}])])
    assert [(row[0], row[1]) for row in stored(engine)] == [(0, "1"), (1, "2")]


def test_the_same_prompt_may_be_in_two_sets(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "a"}])
    import_prompts(engine, "one", [source])
    assert counts(import_prompts(engine, "two", [source])) == (1, 1, 0, 0)


def test_bad_lines_are_written_down_and_the_good_ones_imported(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "a"}, "{broken", {"question": "b"}, {"prompt": "c"}])
    report = import_prompts(engine, "math", [source])
    assert counts(report) == (4, 2, 0, 2)
    assert report.rejects_path == tmp_path / "a.jsonl.rejects"
    entries = [json.loads(line) for line in report.rejects_path.read_text().splitlines()]
    assert [(entry["file"], entry["line"], entry["raw"]) for entry in entries] == [
        (source, 2, "{broken"),
        (source, 3, '{"question": "b"}'),
    ]
    assert entries[1]["reason"] == "has neither prompt nor messages, but question; try --map prompt=question"


def test_strict_imports_nothing_when_a_line_is_refused(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "a"}, "{broken"])
    with pytest.raises(InputError, match=r"1 of 2 records.*my-rejects\.jsonl"):
        import_prompts(engine, "math", [source], strict=True, rejects=tmp_path / "my-rejects.jsonl")
    assert (tmp_path / "my-rejects.jsonl").exists()
    assert list_sets(engine) == []


def test_a_damaged_second_file_undoes_the_first(engine: Engine, tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", [{"prompt": "a"}])
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"b\.parquet"):
        import_prompts(engine, "math", [good, str(tmp_path / "b.parquet")])
    with pytest.raises(NotFound, match=r"gone\.jsonl"):
        import_prompts(engine, "math", [good, str(tmp_path / "gone.jsonl")])
    assert list_sets(engine) == []


def test_a_file_of_bad_lines_alone_makes_no_set(engine: Engine, tmp_path: Path) -> None:
    report = import_prompts(engine, "math", [write(tmp_path / "a.jsonl", ["{broken"])])
    assert (counts(report), report.set_id) == ((1, 0, 0, 1), None)
    assert list_sets(engine) == []


def test_whatever_the_line_holds_postgres_never_refuses_the_import(engine: Engine, tmp_path: Path) -> None:
    lines = [
        '{"prompt": "a\\u0000"}',
        '{"prompt": "b", "meta": "\\ud800"}',
        '{"prompt": "c", "n": 1e999}',
        '{"prompt": "d", "n": -1.5e300, "big": ' + "9" * 4000 + "}",
        '{"prompt": "e", "deep": ' + "[" * 900 + "]" * 900 + "}",
        '{"prompt": "\\u2028 \\\\N \\\\. \\t \U0001f600"}',
        json.dumps({"prompt": "f" * 900_000}),
        json.dumps({"prompt": "g", "id": "\U0001f600" * 512}, ensure_ascii=False),
    ]
    report = import_prompts(engine, "math", [write(tmp_path / "a.jsonl", list(lines))])
    assert counts(report) == (8, 6, 0, 2)
    assert stored(engine)[0][4] == {"n": None}, "an infinite number is a hole in what nobody needs"
    assert stored(engine)[3][2] == [{"role": "user", "content": "\u2028 \\N \\. \t \U0001f600"}]


def test_columns_can_be_mapped_and_formats_mixed(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,gold\n1+1?,2\n")
    pq.write_table(pa.table({"question": ["2+2?"], "gold": ["4"]}), tmp_path / "b.parquet")
    reading = Reading.parse(["prompt=question", "reference_answer=gold"])
    import_prompts(engine, "math", [str(tmp_path / "a.csv"), str(tmp_path / "b.parquet")], reading=reading)
    assert [(row[2][0]["content"], row[3]) for row in stored(engine)] == [("1+1?", "2"), ("2+2?", "4")]


def test_standard_input_is_imported(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "a"}\n{broken\n')))
    report = import_prompts(engine, "math", ["-"])
    assert counts(report) == (2, 1, 0, 1)
    assert report.rejects_path == Path("math.rejects")
    assert json.loads(report.rejects_path.read_text())["file"] == "stdin"


@pytest.mark.parametrize("set_name", ["", "two words", "-x", "x" * 64])
def test_a_set_name_that_no_run_could_use_is_refused(engine: Engine, tmp_path: Path, set_name: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        import_prompts(engine, set_name, [write(tmp_path / "a.jsonl", [{"prompt": "a"}])])


def test_rejects_never_overwrite_a_source(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ["{broken"])
    with pytest.raises(ConfigError, match="being imported"):
        import_prompts(engine, "math", [source], rejects=tmp_path / "." / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == "{broken\n"


def test_progress_is_reported_up_to_the_end(engine: Engine, tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{n}.jsonl", [{"prompt": f"{n} {i}"} for i in range(2500)]) for n in range(2)]
    seen: list[ImportProgress] = []
    import_prompts(engine, "math", sources, on_progress=seen.append)
    assert [progress.read for progress in seen] == [1000, 2000, 3000, 4000, 5000, 5000]
    shares = [progress.share or 0.0 for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_imports_of_one_set_side_by_side_neither_deadlock_nor_double(engine: Engine, tmp_path: Path) -> None:
    prompts = [{"prompt": f"{n}+1?"} for n in range(400)]
    orders = [prompts, prompts[::-1], prompts[200:] + prompts[:200], prompts]
    sources = [write(tmp_path / f"{index}.jsonl", list(order)) for index, order in enumerate(orders)]
    barrier = threading.Barrier(len(sources))

    def run(source: str) -> PromptImport:
        barrier.wait(timeout=30)
        return import_prompts(engine, "math", [source])

    with ThreadPoolExecutor(len(sources)) as pool:
        reports = list(pool.map(run, sources))
    assert sum(report.imported for report in reports) == 400
    assert len({report.set_id for report in reports}) == 1
    assert [row[0] for row in stored(engine)] == list(range(400))


def test_a_connection_cut_in_the_middle_imports_nothing_and_says_so(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": f"{n}+1?", "pad": "x" * 500} for n in range(3000)])

    def cut(progress: ImportProgress) -> None:
        if progress.read == 1000:
            with engine.connect() as other:
                other.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND query LIKE 'COPY%' AND pid <> pg_backend_pid()"
                    )
                )

    with pytest.raises(ServiceError, match="nothing was imported"):
        import_prompts(engine, "math", [source], on_progress=cut)
    assert list_sets(engine) == []
    assert counts(import_prompts(engine, "math", [source])) == (3000, 3000, 0, 0)


def test_a_file_that_contradicts_what_is_stored_is_told_with_the_way_to_correct_it(
    engine: Engine, tmp_path: Path
) -> None:
    first = [{"id": "a", "prompt": "6*7?", "reference_answer": "41"}, {"id": "b", "prompt": "6*8?"}, {"prompt": "x"}]
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", first)])
    second = [
        {"id": "a", "prompt": "6*7?", "reference_answer": "42"},
        {"id": "b", "prompt": "6*8?", "reference_answer": "48"},
        {"prompt": "x"},
    ]
    source = write(tmp_path / "b.jsonl", second)
    assert import_prompts(engine, "math", [source]).notes == (
        f"2 rows differ from what is stored: {source}, line 1, has the reference_answer '42' where math has '41'."
        " `persyn prompts update FILE --set math` takes over what the file says.",
    )
    assert import_prompts(engine, "math", [write(tmp_path / "c.jsonl", [{"prompt": "6*7?"}])]).notes == ()


def test_rows_of_one_text_that_differ_and_an_id_of_two_texts_are_told(engine: Engine, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one"}, {"id": "a", "prompt": "two"}]
    source = write(tmp_path / "a.jsonl", rows)
    repeat, same = import_prompts(engine, "math", [source]).notes
    assert repeat == (
        f"1 row differs from an earlier row of the same text: {source}, line 2, has the id 'b' where line 1 has 'a'."
        " The first counts."
    )
    assert same.startswith("1 id stands for several texts, such as 'a'.")
    later = import_prompts(engine, "math", [write(tmp_path / "b.jsonl", [{"id": "a", "prompt": "three"}])])
    assert later.notes == (same,), "also across files"


def test_a_misspelt_column_imports_nothing_and_leaves_no_rejects(engine: Engine, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"question": "1+1?", "answer": "2"}])
    with pytest.raises(ConfigError, match="Did you mean answer"):
        import_prompts(engine, "math", [source], reading=Reading.parse(["prompt=question", "reference_answer=anwser"]))
    assert list_sets(engine) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_pattern_can_be_imported_again_after_a_refusal(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": "a"}, "{broken"])
    pattern = str(tmp_path / "*.jsonl")
    assert import_prompts(engine, "math", [pattern]).rejects_path is not None
    assert counts(import_prompts(engine, "math", [pattern])) == (2, 0, 1, 1)


def test_a_data_set_of_shards_and_shapes_says_what_it_took(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for n in range(2):
        table = pa.table({"instruction": [f"Translate {n}"], "input": ["Good"], "output": ["Bon"]})
        pq.write_table(table, tmp_path / "shards" / f"train-0000{n}-of-00002.parquet")
    report = import_prompts(engine, "math", [str(tmp_path / "shards")])
    assert [tuple(taken) for taken in report.shapes] == [
        ("alpaca", 2, 2, {"prompt": "instruction, then input", "answer": "output"})
    ]
    assert [row[2][0]["content"] for row in stored(engine)] == ["Translate 0\n\nGood", "Translate 1\n\nGood"]


def test_a_real_file_of_thousands_is_imported_whole_and_once(engine: Engine, shared_data: Path) -> None:
    source = str(shared_data / "gsm8k_train.jsonl.gz")
    first = import_prompts(engine, "gsm8k", [source])
    assert (first.read, first.imported, first.duplicates, first.rejected) == (7473, 7473, 0, 0)
    again = import_prompts(engine, "gsm8k", [source])
    assert (again.imported, again.duplicates) == (0, 7473)
