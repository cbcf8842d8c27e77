"""The libraries that a set is made for read every row of it, and train on the answers and nothing else."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persyn.config import Export, Layout
from persyn.exports.write import export_run

READERS = Path(__file__).parent / "readers"
# LLaMA-Factory and verl want other releases than we do, so that each has an environment of its own.
ENVIRONMENTS = Path(os.environ.get("PERSYN_CONSUMERS", Path(__file__).parents[3] / ".venv-consumers"))
SYSTEM = {"role": "system", "content": "Be brief. 🙂"}
TURNS = [
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2 + 2?"},
]
# (the prompt's messages, the answer, its reasoning)
TALKS: list[tuple[list[dict[str, str]], str, str | None]] = [
    ([{"role": "user", "content": "Plain?"}], "Plain.", None),
    ([SYSTEM, {"role": "user", "content": "With a system turn?"}], "Yes.", None),
    (TURNS, "4", "Two and two"),
    ([SYSTEM, *TURNS, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Sure?"}], "Sure.", None),
    ([{"role": "user", "content": "日本語 👩‍👩‍👧 ?"}], "はい 👍🏽", None),
    ([{"role": "user", "content": "Spell <|im_end|> and <think>"}], "<|im_end|> </think>", None),
    ([{"role": "user", "content": "A long one"}], "word " * 20_000, None),
]


@pytest.fixture
def exported(make_tables: Any, tmp_path: Path) -> Callable[..., Path]:
    """`exported(layout, **export)`: the folder of an export that holds every kind of talk."""
    records = [
        {"id": n, "messages": messages, "reference_answer": f"truth {n}"} for n, (messages, _, _) in enumerate(TALKS)
    ]
    tables = make_tables(records=records, scorers={"quality": {"kind": "imported"}})
    for n, (_, answer, reasoning) in enumerate(TALKS):
        tables.decide(n, "small")
        tables.answer(n, "small", answer, reasoning=reasoning)

    def export(layout: Layout, **options: Any) -> Path:
        folder = tmp_path / "set"
        manifest = export_run(tables.engine, tables.run_id, folder, Export(layout=layout, **options))
        assert manifest.rows == len(TALKS)
        return folder

    return export


def test_trl_trains_on_the_answer_and_the_stop_token_alone(
    exported: Callable[..., Path], tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = exported("prompt_completion", reasoning="think")
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == len(TALKS)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, max_length=None, use_cpu=True,
        report_to=[], save_strategy="no", disable_tqdm=True, bf16=False,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_model), args=config, train_dataset=rows, processing_class=tokenizer
    )
    for talk, row in zip(TALKS, trainer.train_dataset, strict=True):
        batch = trainer.data_collator([row])
        learnt = [int(token) for token in batch["labels"][0] if token >= 0]
        assert tokenizer.decode(learnt).strip() == expected(talk) + tokenizer.eos_token
    trainer.train_dataset = trainer.train_dataset.select(range(4))
    assert trainer.train().training_loss > 0


def test_llamafactory_skips_no_row_and_trains_on_the_answer(
    exported: Callable[..., Path], tiny_model: str, tmp_path: Path
) -> None:
    learnt = read("llamafactory", "read_llamafactory.py", str(exported("llamafactory")), tiny_model, out=tmp_path)
    # Its template of Qwen ends a turn with <|im_end|>. An answer's own special tokens are its own again in the text.
    assert [text.removesuffix("\n").removesuffix("<|im_end|>") for text in learnt] == [*map(expected, TALKS)]


def test_verl_trains_on_the_answers_of_messages(exported: Callable[..., Path], tiny_model: str, tmp_path: Path) -> None:
    folder = exported("messages", formats=["parquet"], reasoning="think")
    learnt = read("verl", "read_verl.py", str(folder / "train.parquet"), tiny_model, "sft", out=tmp_path)
    for talk, text in zip(TALKS, learnt, strict=True):
        assert text.endswith(expected(talk) + "</s>")


def test_verl_finds_prompts_and_truths_for_reinforcement_learning(
    exported: Callable[..., Path], tiny_model: str, tmp_path: Path
) -> None:
    folder = exported("verl", formats=["parquet"])
    rows = read("verl", "read_verl.py", str(folder / "train.parquet"), tiny_model, "rl", out=tmp_path)
    assert rows == [[messages, "math", f"truth {n}"] for n, (messages, _, _) in enumerate(TALKS)]


def test_the_rows_for_openai_have_what_its_checker_asks_for(exported: Callable[..., Path]) -> None:
    lines = (exported("openai") / "train.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    for row, (messages, answer, _) in zip(map(json.loads, lines), TALKS, strict=True):
        assert list(row) == ["messages"]
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        assert row["messages"] == [*messages, {"role": "assistant", "content": answer}]


def read(consumer: str, script: str, *arguments: str, out: Path) -> Any:
    """The texts that a consumer's own code trains on, in an environment of its own."""
    python = ENVIRONMENTS / consumer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"`make consumers` installs {consumer} for this test")
    done = subprocess.run(
        [python, READERS / script, *arguments[:2], out, *arguments[2:]], capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HOME": str(out / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "learnt.json").read_text())


def expected(talk: tuple[list[dict[str, str]], str, str | None]) -> str:
    _, answer, reasoning = talk
    return f"<think>\n{reasoning}\n</think>\n\n{answer}" if reasoning else answer
