"""The training against a plain loop of torch, against a copy of itself that was cut off, and by what it teaches."""

import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from persyn.chat import Answered, prompt_ids
from persyn.config import StudentTraining
from persyn.errors import JobFailed, ModelError
from persyn.inference.random_model import build
from persyn.students.dataset import TrainingSet, training_set
from persyn.students.train import BaseStudent, TrainedStudent, Watch, load_base, merge, save, train
from persyn.students.trained import is_whole

# Answers of very different lengths, so that batches are padded and steps hold unequal numbers of learnt tokens.
ANSWERS = ["a", "bc " * 9, "no", "longer " * 4, "x" * 50, "yes", "7", "so it is", "q" * 3, "end of it"]
STEPS = 6  # of two passes: 10 rows, 2 in a batch, 2 batches a step


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("tiny")
    return build(folder, hidden_size=32)


def options(**changes: Any) -> StudentTraining:
    given = {"epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 1e-2, "warmup": 0.0}
    return StudentTraining.model_validate(given | {"schedule": "linear", "dtype": "float32"} | changes)


def rows_for(base: BaseStudent, answers: list[str] | None = None) -> TrainingSet:
    asked = [Answered([{"role": "user", "content": f"Say {n}"}], text) for n, text in enumerate(answers or ANSWERS)]
    return training_set(base.tokenizer, asked, 256)


class Cut(Exception):
    """In the place of kill -9: it ends the training between two batches, and nothing is told to anybody."""


def learn(
    model: str, folder: Path, *, moves: int | None = None, leave: bool = False, key: str = "k", seed: int = 1,
    answers: list[str] | None = None, **changes: Any,
) -> tuple[BaseStudent, TrainedStudent | None]:  # fmt: skip
    """Train in this folder, as a new process would; `moves`: cut it off, or leave it, after so many batches."""
    done = 0

    def move() -> None:
        nonlocal done
        done += 1
        if moves is not None and done > moves and not leave:
            raise Cut

    watch = Watch(move, nullcontext, lambda: leave and moves is not None and done >= moves)
    settings = options(**changes)
    base = load_base(model, None, settings, device="cpu")
    rows = rows_for(base, answers)
    return base, train(base, rows, settings, seed=seed, checkpoints=folder, key=key, watch=watch)


def by_hand(model: str, order: list[list[int]]) -> list[float]:
    """Losses of steps of plain AdamW over these rows: the mean over each step's learnt tokens, without TRL."""
    base = load_base(model, None, options(), device="cpu")
    rows, network = rows_for(base).rows, base.network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / len(order))
    losses = []
    for step in order:
        learnt = sum(label != -100 for at in step for label in rows[at].labels[1:])
        total = torch.zeros(())
        for at in step:
            logits = network(torch.tensor([rows[at].ids])).logits[0, :-1]
            labels = torch.tensor(rows[at].labels[1:])
            total = total + cross_entropy(logits, labels, ignore_index=-100, reduction="sum") / learnt
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(total.detach()))
    return losses


def steps_of(base: BaseStudent, rows: TrainingSet, seen: list[list[int]], size: int) -> list[list[int]]:
    """Which rows were in each step, by the first tokens of what the network saw."""
    whole = {tuple(row.ids): at for at, row in enumerate(rows.rows)}
    batches = [whole[tuple(ids)] for ids in seen]
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def test_a_steps_loss_is_the_mean_over_its_learnt_tokens_and_nothing_else(model: str, tmp_path: Path) -> None:
    seen: list[list[int]] = []
    settings = options()
    base = load_base(model, None, settings, device="cpu")
    rows = rows_for(base)
    hook = base.network.model.register_forward_pre_hook(
        lambda _module, _args, given: seen.extend(
            ids[mask.bool()].tolist() for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)
        ),
        with_kwargs=True,
    )
    found = train(
        base, rows, settings, seed=1, checkpoints=tmp_path, key="k",
        watch=Watch(lambda: None, nullcontext, lambda: False),
    )  # fmt: skip
    hook.remove()
    assert found is not None
    order = [step for at in (0, 10) for step in steps_of(base, rows, seen[at : at + 10], 4)]
    assert [len(step) for step in order] == [4, 4, 2, 4, 4, 2]
    assert sorted(row for step in order[:3] for row in step) == list(range(10))
    assert found.losses == pytest.approx(by_hand(model, order), abs=1e-5)
    assert found.final_loss == pytest.approx(sum(found.losses[3:]) / 3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_training_that_was_cut_off_goes_on_as_if_nothing_had_been(model: str, tmp_path: Path, method: str) -> None:
    _, whole = learn(model, tmp_path / "whole", method=method, checkpoint_steps=1)
    with pytest.raises(Cut):
        learn(model, tmp_path / "cut", method=method, checkpoint_steps=1, moves=5)
    left = sorted(path.name for path in (tmp_path / "cut").glob("checkpoint-*"))
    assert left == ["checkpoint-2", "checkpoint-3"]
    shutil.copytree(tmp_path / "cut" / "checkpoint-3", tmp_path / "cut" / "checkpoint-4")
    (tmp_path / "cut" / "checkpoint-4" / "record.json").unlink()  # the kill came while it was written
    base, resumed = learn(model, tmp_path / "cut", method=method, checkpoint_steps=1)
    assert whole is not None
    assert resumed is not None
    assert len(whole.losses) == STEPS
    assert resumed.losses == whole.losses
    ends = [dict(found.network.named_parameters()) for found in (whole, resumed)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert base.sha256 == load_base(model, None, options(), device="cpu").sha256


def test_a_worker_that_leaves_keeps_what_it_has(model: str, tmp_path: Path) -> None:
    _, whole = learn(model, tmp_path / "whole")
    _, left = learn(model, tmp_path / "left", moves=3, leave=True)
    assert left is None
    assert [path.name for path in (tmp_path / "left").glob("checkpoint-*")] == ["checkpoint-2"]
    _, resumed = learn(model, tmp_path / "left")
    assert whole is not None
    assert resumed is not None
    assert resumed.losses == whole.losses
    _, again = learn(model, tmp_path / "left")  # it was finished, and its model not yet stored
    assert again is not None
    assert again.losses == whole.losses


def test_another_seed_takes_another_order(model: str, tmp_path: Path) -> None:
    _, one = learn(model, tmp_path / "one")
    _, two = learn(model, tmp_path / "two", seed=2)
    assert one is not None
    assert two is not None
    assert one.losses != two.losses


def test_a_checkpoint_of_another_base_is_not_gone_on_from(model: str, tmp_path: Path) -> None:
    learn(model, tmp_path, moves=3, leave=True)
    with pytest.raises(JobFailed, match=r"are of another base or other rows.* Delete that folder") as caught:
        learn(model, tmp_path, key="another")
    assert (caught.value.code, caught.value.permanent) == ("other_checkpoint", True)


def test_a_loss_that_is_no_number_ends_it_with_what_to_change(model: str, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"lower student\.training\.learning_rate") as caught:
        learn(model, tmp_path, learning_rate=1e38)
    assert (caught.value.code, caught.value.permanent) == ("not_finite", True)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_too_little_memory_ends_it_with_what_to_change(model: str, tmp_path: Path) -> None:
    def fill() -> None:
        torch.empty(10**16)  # more than any host has

    settings = options()
    base = load_base(model, None, settings, device="cpu")
    with pytest.raises(JobFailed, match=r"batch_size \(now 2\).*method: lora.*persyn jobs retry") as caught:
        train(base, rows_for(base), settings, seed=1, checkpoints=tmp_path, key="k",
              watch=Watch(fill, nullcontext, lambda: False))  # fmt: skip
    assert (caught.value.code, caught.value.permanent) == ("out_of_memory", True)


def test_a_checkpoint_that_cannot_be_written_is_the_hosts_fault(model: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").touch()  # a file in the folder's way, which root's rights do not overcome
    with pytest.raises(ModelError, match=r"cannot be written to .*Make room there, or set PERSYN_HOME"):
        learn(model, tmp_path, checkpoint_steps=1)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_student_says_what_it_learnt_and_stops(model: str, tmp_path: Path, method: str) -> None:
    words = ["so it is."] * 8
    base, trained = learn(
        model, tmp_path / "c", method=method, answers=words, epochs=30, accumulation=1, schedule="constant",
        learning_rate=1e-2,
    )  # fmt: skip
    assert trained is not None
    stop = rows_for(base, words).stop_ids
    folder = tmp_path / "trained"
    sha256 = save(base, trained, stop, folder, {"model": model})
    assert is_whole(folder, sha256)
    if method == "lora":
        merge(folder, model, None, tmp_path / "merged")
        folder = tmp_path / "merged"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    prompt = prompt_ids(tokenizer, [{"role": "user", "content": "Say 3"}], generation_prompt=True)
    said = network.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)[0, len(prompt) :].tolist()
    assert said[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
    assert tokenizer.decode(said, skip_special_tokens=True) == "so it is."


def test_the_padding_is_no_stop_token_of_a_student_whose_padding_is_another(model: str, tmp_path: Path) -> None:
    base, trained = learn(model, tmp_path / "c", epochs=1)
    assert trained is not None
    padded = base._replace(generation=transformers.GenerationConfig(pad_token_id=77, eos_token_id=[5]))
    save(padded, trained, [1], tmp_path / "trained", {"model": model})
    kept = transformers.GenerationConfig.from_pretrained(tmp_path / "trained")
    assert (kept.eos_token_id, kept.pad_token_id) == ([1, 5], 77)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "trained")
    before = transformers.AutoConfig.from_pretrained(model)
    assert (config.eos_token_id, config.pad_token_id) == (before.eos_token_id, before.pad_token_id)
    assert math.isfinite(trained.final_loss)
