"""The files beside the rows: they say what the rows say, and their readers take them."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from persyn.config import Format, Layout
from persyn.config.export import BARE
from persyn.exports import documents, layouts
from persyn.exports.documents import Origin
from persyn.exports.files import open_sink
from persyn.exports.layouts import RowForm
from persyn.exports.manifest import ExportedFile, Manifest, Split
from persyn.exports.rows import RunFacts, TeacherFacts
from persyn.exports.selection import Tally

FACTS = RunFacts(
    id=1, name="my-run", config_sha256="c" * 64, policy="persyn", code_version="1", student="pupil", prompt_set="math",
    router_id=None, router_sha256=None, is_mathematics=True,
    teachers=[TeacherFacts("small", "f", "org/m|x", "abc"), TeacherFacts("large", "g", None, None)],
)  # fmt: skip


def made(
    answers: list[Any], shape: RowForm, *files: tuple[Format, Split, str]
) -> tuple[Manifest, dict[str, str], list[dict[str, Any]]]:
    """The manifest, the documents and the rows of an export with these files."""
    tally = Tally()
    for answer in answers:
        tally.add(answer, "train", 10)
    manifest = Manifest(
        run="my-run", run_id=1, student="pupil", policy="persyn", config_sha256="c" * 64, router=None,
        run_code_version="1", export_code_version="1", layout=shape.layout, reasoning=shape.reasoning, keep=[],
        columns=list(shape.columns), prompts=3, rows=len(answers), rows_by_split={"train": len(answers)},
        rows_by_teacher={"small": len(answers), "large": 0}, unchecked=0, flawed={}, left_out={"wrong": 1},
        benchmarks={}, missing={}, longest_row=10, documents=documents.names(shape.layout),
        files=[
            ExportedFile(format=format, split=split, name=name, rows=2, bytes=3, sha256="d" * 64)
            for format, split, name in files
        ],
    )  # fmt: skip
    texts = dict(documents.documents(manifest, Origin(FACTS, tally, layouts.schema(shape))))
    if shape.layout == "preference":
        return manifest, texts, [layouts.preference_row(answer, answers[0], shape) for answer in answers]
    return manifest, texts, [layouts.row(answer, shape) for answer in answers]


TRAIN: tuple[Format, Split, str] = ("jsonl", "train", "train.jsonl")


@pytest.mark.parametrize("layout", ["prompt_completion", "llamafactory", "axolotl"])
def test_the_names_of_the_documents_are_known_beforehand(make_answer: Any, layout: Layout) -> None:
    manifest, texts, _ = made([make_answer()], RowForm(layout), TRAIN)
    assert manifest.documents == [*texts]


def test_the_card_names_one_files_rows_and_the_types_of_their_columns(make_answer: Any) -> None:
    both: tuple[Format, Split, str] = ("parquet", "train", "train-00000-of-00002.parquet")
    validation: tuple[Format, Split, str] = ("parquet", "validation", "validation.parquet")
    _, texts, _ = made([make_answer()], RowForm("prompt_completion", columns=("quality",)), TRAIN, both, validation)
    _, head, body = texts["README.md"].split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["configs"][0]["data_files"] == [
        {"split": "train", "path": ["train-00000-of-00002.parquet"]},
        {"split": "validation", "path": ["validation.parquet"]},
    ]
    types = {column["name"]: column.get("dtype", "list") for column in card["dataset_info"]["features"]}
    assert types["quality"] == "float64"
    assert list(types) == layouts.schema(RowForm("prompt_completion", columns=("quality",))).names
    assert "1 of 3 rows (left out: 1 wrong)" in body
    assert "| small | org/m\\|x | abc | 1 |" in body


def test_croissant_has_each_files_hash_and_says_who_made_a_row(make_answer: Any) -> None:
    _, texts, _ = made([make_answer()], RowForm("prompt_completion"), TRAIN)
    croissant = json.loads(texts["croissant.json"])
    assert "http://mlcommons.org/croissant/1.1" in croissant["conformsTo"]
    assert [(file["name"], file["sha256"]) for file in croissant["distribution"]] == [("train.jsonl", "d" * 64)]
    attributed = [field["name"] for field in croissant["recordSet"][0]["field"] if "equivalentProperty" in field]
    assert attributed == ["teacher"]


def test_the_eu_summary_counts_each_teachers_rows_and_tokens(make_answer: Any) -> None:
    _, texts, _ = made([make_answer(), make_answer()], RowForm("prompt_completion"), TRAIN)
    assert "| small | org/m\\|x | abc | f | 2 | 6 |" in texts["eu_summary.md"]
    assert "Period: 2026-11-25 to 2026-11-25" in texts["eu_summary.md"]


def test_llamafactory_finds_each_file_by_a_name(make_answer: Any) -> None:
    validation: tuple[Format, Split, str] = ("jsonl", "validation", "validation.jsonl")
    _, texts, _ = made([make_answer()], RowForm("llamafactory"), TRAIN, validation)
    entries = json.loads(texts["dataset_info.json"])
    assert {name: entry["file_name"] for name, entry in entries.items()} == {
        "my-run": "train.jsonl",
        "my-run-validation": "validation.jsonl",
    }
    assert entries["my-run"]["columns"] == {"messages": "messages"}


def test_axolotl_reads_the_field_of_the_reasoning(make_answer: Any) -> None:
    _, texts, _ = made([make_answer(reasoning="two ones")], RowForm("axolotl", "field"), TRAIN)
    (entry,) = yaml.safe_load(texts["axolotl.yaml"])["datasets"]
    assert entry["message_property_mappings"]["reasoning_content"] == "reasoning_content"
    assert (entry["path"], entry["type"], entry["field_messages"]) == ("train.jsonl", "chat_template", "messages")


HARD: list[dict[str, Any]] = [
    {"external_id": "", "quality": None, "reasoning": ""},
    {
        "messages": [
            {"role": "system", "content": "brief"},
            {"role": "user", "content": "数学?"},
            {"role": "assistant", "content": "Yes. 🙂"},
            {"role": "user", "content": "<think>more</think>\u2028"},
        ],
        "text": "x" * 100_000,
        "reasoning": "first",
        "quality": 1.0,
    },
]


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("through_card", [True, False])
def test_datasets_loads_the_rows_as_they_are(
    make_answer: Any, tmp_path: Path, layout: Layout, format: Format, through_card: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    shape = RowForm(layout, "drop") if layout in BARE else RowForm(layout, "field", ("quality",))
    answers = [make_answer(**changes) for changes in HARD]
    _, texts, rows = made(answers, shape, (format, "train", f"train.{format}"))
    folder = tmp_path / "set"
    folder.mkdir()
    with open_sink(folder, "train", format, layouts.schema(shape)) as sink:
        for row in rows:
            sink.add(row, 10)
        sink.finish()
    (folder / "README.md").write_text(texts["README.md"], encoding="utf-8")
    cache = str(tmp_path / "cache")
    if through_card:
        loaded = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
    else:
        kind = "json" if format == "jsonl" else format
        file = str(folder / f"train.{format}")
        loaded = datasets.load_dataset(kind, data_files=file, split="train", cache_dir=cache)
    assert loaded.to_list() == rows


def test_datasets_takes_a_columns_type_from_the_card_where_the_first_rows_have_none(
    make_answer: Any, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    shape = RowForm("prompt_completion", columns=("quality",))
    many = [make_answer(quality=None, text="x" * 1_200_000)] * 10
    _, texts, rows = made([*many, make_answer(quality=0.5)], shape, TRAIN)
    with open_sink(tmp_path, "train", "jsonl", layouts.schema(shape)) as sink:
        for row in rows:
            sink.add(row, 10)
        sink.finish()
    (tmp_path / "README.md").write_text(texts["README.md"], encoding="utf-8")
    loaded = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["quality"][-1] == 0.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries beneath it
def test_mlcroissant_finds_no_fault(make_answer: Any, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    _, texts, _ = made([make_answer()], RowForm("prompt_completion"), TRAIN)
    (tmp_path / "croissant.json").write_text(texts["croissant.json"])
    issues = mlcroissant.Dataset(tmp_path / "croissant.json").metadata.issues
    assert [*issues.errors] == []
