"""Trains a student with TRL's SFTTrainer on rows that are tokens already; resumes after it was killed.

TRL gets ids and labels and neither texts nor a template, so that no template, cut or mask of its own comes between the
rows and the loss. The loss of a step is the mean over all its learnt tokens, however they lie in batches. A checkpoint
counts once its record is there, which is written last; a training that goes on from one takes the steps that the killed
one would have taken.
"""

import gc
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from persyn.config import StudentTraining
from persyn.errors import JobFailed, ModelError, PersynError
from persyn.files import replacing
from persyn.inference.loading import choose_device, load_network, load_tokenizer
from persyn.students.dataset import TrainingSet
from persyn.students.trained import ADAPTER, DESCRIPTION, seal
from persyn.text import reason

log = logging.getLogger(__name__)

RECORD = "record.json"  # of a checkpoint: what it is of, and for how long was trained
_OWNER = "The student"
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


class BaseStudent(NamedTuple):
    """The student before its training, as this host computes with it."""

    network: Any
    tokenizer: Any
    device: torch.device
    dtype: str  # that it computes in and is stored in
    sha256: str  # of its weights
    generation: Any  # its generation_config, and below its special tokens: transformers changes both as it trains
    token_ids: dict[str, Any]


class Watch(NamedTuple):
    """The calls by which a training speaks with its caller."""

    on_move: Callable[[], object]  # after each batch; what it raises ends the training
    slow: Callable[[], AbstractContextManager[None]]  # around what cannot say that it moves
    leaves: Callable[[], bool]  # whether to end now, to be resumed


class TrainedStudent(NamedTuple):
    network: Any
    losses: list[float]  # of each step: nats per learnt token
    epochs: int
    seconds: float

    @property
    def final_loss(self) -> float:
        """The mean over the steps of the last pass."""
        last = self.losses[-max(1, len(self.losses) // self.epochs) :]
        return sum(last) / len(last)


def load_base(path: str, revision: str | None, options: StudentTraining, device: str = "auto") -> BaseStudent:
    """The student from a local folder or a Hugging Face name. Raises ModelError."""
    place = choose_device(device)
    dtype = options.dtype if options.dtype != "auto" else "bfloat16" if place.type == "cuda" else "float32"
    # Steps are finer than bfloat16 can add; weights that are not trained need no more than they are computed in.
    loaded = dtype if options.method == "lora" else "float32"
    tokenizer = load_tokenizer(path, revision=revision, owner=_OWNER)
    network, _ = load_network("AutoModelForCausalLM", path, revision=revision, owner=_OWNER, device=place, dtype=loaded)
    token_ids = {name: getattr(network.config, name, None) for name in _TOKEN_IDS}
    return BaseStudent(
        network, tokenizer, place, dtype, _digest(network), deepcopy(network.generation_config), token_ids
    )


def _digest(network: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def train(
    base: BaseStudent,
    rows: TrainingSet,
    options: StudentTraining,
    *,
    seed: int,
    checkpoints: Path,
    key: str,
    watch: Watch,
) -> TrainedStudent | None:
    """Train to the end, or until the caller leaves, which gives None.

    checkpoints: a folder of this training's own; key: what tells it from any other. Raises JobFailed where the training
    cannot go on as it is, ModelError where this host cannot keep its checkpoints, and whatever `watch` raises.
    """
    last = _last_checkpoint(checkpoints, key)
    with ExitStack() as loading:
        loading.enter_context(watch.slow())
        trainer = _trainer(base, rows, options, seed, checkpoints, _Follower(watch, loading))
        trainer.keeps = _Keeping(key, watch.slow, time.monotonic() - (last[1] if last else 0.0))
        try:
            trainer.train(resume_from_checkpoint=str(last[0]) if last else None)
        except torch.OutOfMemoryError as exc:
            raise JobFailed("out_of_memory", _too_large(options), permanent=True) from exc
        except RuntimeError as exc:
            if "not enough memory" in str(exc) or "can't allocate memory" in str(exc):  # the CPU's allocator
                raise JobFailed("out_of_memory", _too_large(options), permanent=True) from exc
            raise
    if trainer.state.global_step < trainer.state.max_steps:
        return None
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return TrainedStudent(trainer.model, losses, options.epochs, time.monotonic() - trainer.keeps.began)


def _too_large(options: StudentTraining) -> str:
    smaller = [
        f"batch_size (now {options.batch_size}) with a larger accumulation" if options.batch_size > 1 else "",
        "gradient_checkpointing: true" if not options.gradient_checkpointing else "",
        "method: lora" if options.method == "full" else "",
        "a smaller student.max_length",
    ]
    ways = "; ".join(way for way in smaller if way)
    return (
        f"the training does not fit into this host's memory. In student.training try {ways}; or give the job to a"
        " larger host with `persyn jobs retry`"
    )


def save(
    base: BaseStudent, trained: TrainedStudent, stop_ids: list[int], folder: Path, description: dict[str, Any]
) -> str:
    """Write weights, tokenizer and configurations; returns the artifact's sha256. Raises ModelError.

    description: its `model` names the base for an adapter. Whoever generates with it stops where the rows stopped.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    network = trained.network
    is_adapter = hasattr(network, "peft_config")
    try:
        if is_adapter:
            network.peft_config["default"].base_model_name_or_path = description["model"]
            network.save_pretrained(folder)
        else:
            for name, value in base.token_ids.items():
                setattr(network.config, name, value)
            network.to(getattr(torch, base.dtype)).save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        _generation_config(base, stop_ids).save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
        return seal(folder, description)
    except (OSError, SafetensorError) as exc:
        raise _unwritable("The trained student", folder, exc) from exc


def merge(adapter: Path, base_path: str, revision: str | None, folder: Path) -> None:
    """Write the base with a LoRA adapter's matrices added to its weights, as a folder of its own. Raises ModelError."""
    network, _ = load_network(
        "AutoModelForCausalLM", base_path, revision=revision, owner=_OWNER, device=choose_device("cpu")
    )
    merged = PeftModel.from_pretrained(network, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    for path in adapter.iterdir():
        if path.name not in (DESCRIPTION, ADAPTER) and path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)


def free_memory() -> None:
    """Give a GPU's memory back that nothing holds any more: a model server may need it next."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _generation_config(base: BaseStudent, stop_ids: list[int]) -> Any:
    """The base's own, with the learnt stop tokens first: TRL writes the padding among them, which ends every answer."""
    own = deepcopy(base.generation)
    known = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    own.eos_token_id = list(dict.fromkeys([*stop_ids, *(token for token in known if token is not None)]))
    return own


class _Keeping(NamedTuple):
    """The record of a checkpoint, and the patience for its writing."""

    key: str
    slow: Callable[[], AbstractContextManager[None]]
    began: float  # of the whole training, by this process's clock


class _Trainer(SFTTrainer):  # type: ignore[misc]
    keeps: _Keeping

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        try:
            with self.keeps.slow():
                super()._save_checkpoint(model, trial)
                record = {"key": self.keeps.key, "seconds": time.monotonic() - self.keeps.began}
                with replacing(folder / f"checkpoint-{self.state.global_step}" / RECORD) as file:
                    file.write(json.dumps(record).encode())
        except (PersynError, torch.OutOfMemoryError):
            raise
        except (OSError, RuntimeError, SafetensorError) as exc:
            raise _unwritable("A checkpoint of the student", folder, exc) from exc


def _unwritable(what: str, folder: Path, exc: Exception) -> ModelError:
    return ModelError(
        f"{what} cannot be written to {folder}: {reason(exc)}. Make room there, or set PERSYN_HOME to another folder."
    )


class _Follower(TrainerCallback):  # type: ignore[misc]
    """Tells the caller that the training moves, ends it when asked, and stops it where its numbers are none."""

    def __init__(self, watch: Watch, loading: ExitStack) -> None:
        self._watch, self._loading = watch, loading

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._loading.close()

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        self._watch.on_move()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._watch.on_move()
        if self._watch.leaves():
            control.should_save = control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        for what in ("loss", "grad_norm"):
            value = logs.get(what, 0.0)
            if not math.isfinite(value):
                raise JobFailed(
                    "not_finite",
                    f"the {what.replace('grad_norm', 'gradient')} is {value} at step {state.global_step}; lower"
                    " student.training.learning_rate, raise warmup, or set dtype: float32",
                    permanent=True,
                )


def _trainer(
    base: BaseStudent, rows: TrainingSet, options: StudentTraining, seed: int, folder: Path, follower: _Follower
) -> _Trainer:
    pad = base.tokenizer.pad_token_id
    trainer = _Trainer(
        model=base.network,
        args=_arguments(base, options, seed, folder),
        train_dataset=Dataset.from_dict(
            {"input_ids": [row.ids for row in rows.rows], "labels": [row.labels for row in rows.rows]}
        ),
        processing_class=base.tokenizer,
        # Labels say what counts, so any id may fill a row up; TRL's own collator would change tokenizer and model.
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0 if pad is None else pad),
        peft_config=_lora(options),
        callbacks=[follower],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _lora(options: StudentTraining) -> LoraConfig | None:
    if options.method == "full":
        return None
    return LoraConfig(
        r=options.lora.rank, lora_alpha=options.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _arguments(base: BaseStudent, options: StudentTraining, seed: int, folder: Path) -> SFTConfig:
    """Each line that is no choice of the user's says what TRL or transformers would do without it."""
    values = options.hyperparameters()
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        learning_rate=values["learning_rate"],
        lr_scheduler_type="constant_with_warmup" if options.schedule == "constant" else options.schedule,
        warmup_steps=options.warmup,  # below 1 a share of all steps
        weight_decay=options.weight_decay,
        seed=seed,
        data_seed=seed,
        gradient_checkpointing=options.gradient_checkpointing,  # on
        bf16=base.dtype == "bfloat16",  # on, on a CPU too
        use_cpu=base.device.type == "cpu",
        max_length=None,  # cut at 1,024, which takes the stop token
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are what they are
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        save_total_limit=2,  # while one is written, the one before it stands
        logging_steps=1,
        logging_nan_inf_filter=False,  # tell a loss that is no number as the mean of those before
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=base.device.type == "cuda",
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several: DataParallel, which TRL refuses
    return arguments


def _last_checkpoint(folder: Path, key: str) -> tuple[Path, float] | None:
    """The newest whole checkpoint and the seconds of training behind it. Raises JobFailed where it is another's."""
    found: list[tuple[int, Path, dict[str, Any]]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            found.append((int(path.name.rpartition("-")[2]), path, json.loads((path / RECORD).read_bytes())))
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)  # its writing was cut off
    if not found:
        return None
    _, path, record = max(found, key=lambda each: each[0])
    if record["key"] != key:
        raise JobFailed(
            "other_checkpoint",
            f"the checkpoints in {folder} are of another base or other rows, as student.model changed meanwhile."
            " Delete that folder, and `persyn jobs retry` begins anew",
            permanent=True,
        )
    return path, float(record["seconds"])
