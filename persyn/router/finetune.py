"""Trains the whole router, backbone and head, by gradient steps; resumes from a checkpoint after it was killed.

The head starts with zero weights and the Bradley-Terry strengths as its bias, which is the best router that ignores the
prompt. Training stops by the loss on held-out training prompts, and the state with the lowest such loss is kept. The
start is one of these states: a prompt set without a signal gives the static best, never something worse.

Several GPUs share each step's prompts: every process reads its part, and the gradients are added up before the step, so
that a training takes the same steps on any number of GPUs. The processes train into the checkpoint; the calling process
then resumes from it and finds the training finished.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import accelerate
import numpy as np
import torch
import torch.multiprocessing
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from persyn import config
from persyn.config import Settings
from persyn.errors import ModelError
from persyn.files import replacing
from persyn.router.dataset import collate, mixed
from persyn.router.model import Pooling, RouterModel, untrained
from persyn.router.preferences import Pairs, pairs

Floats = NDArray[np.float64]


class Epoch(NamedTuple):
    """Mean loss per preference, in nats. Epoch 0 is the start, before any step."""

    number: int
    train_loss: float
    held_out_loss: float


def bradley_terry_loss(coefficients: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Summed cross-entropy of σ(zᵀπ(x)) over all pairs, for coefficients (B, M), and target and weight (B, K)."""
    first, second = torch.triu_indices(
        coefficients.shape[1], coefficients.shape[1], offset=1, device=coefficients.device
    )
    lead = coefficients[:, first] - coefficients[:, second]
    return (weight * (softplus(lead) - target * lead)).sum()


def finetune(
    model: RouterModel,
    rows: Sequence[list[int]],
    rewards: Floats,
    config: config.Router,
    preferences: config.Preferences,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place on all rows (token ids) and rewards (P, M); it ends in the best epoch's state.

    With `checkpoint` the state is written there every `checkpoint_steps` steps and every epoch, and training resumes
    from a state that is there already. On one machine a training that was killed ends in exactly the state of one that
    was not. `on_step` is always called from this process, even where other processes train. Raises ModelError if one of
    these fails.
    """
    known = pairs(rewards, **preferences.model_dump())
    device = model.head.weight.device
    gpus = torch.cuda.device_count() if device.type == "cuda" else 1
    processes = Settings.from_environment().train_processes or gpus
    with contextlib.ExitStack() as stack:
        # Dropout draws from the global generator, which belongs to the caller.
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        torch.manual_seed(seed)
        run = _Training(model, rows, known, config, seed, checkpoint)
        if processes > 1:
            folder = None if checkpoint else stack.enter_context(tempfile.TemporaryDirectory())
            shared = run.checkpoint = checkpoint or Path(str(folder)) / "checkpoint"
            if not shared.exists():
                run.save()
            task = _Task(
                model.backbone.config, model.pooling, rewards.shape[1], rows, known, config, seed, shared, device.type
            )
            with run.off_device():
                _train_together(processes, task, on_step or _ignore)
        return run.fit(on_epoch or _ignore, on_step or _ignore)


def _ignore(_: object) -> None:
    pass


class _Training:
    """One process's training. `state` describes the processes that train together; None where there is only one."""

    def __init__(
        self, model: RouterModel, rows: Sequence[list[int]], known: Pairs, config: config.Router, seed: int,
        checkpoint: Path | None, state: accelerate.PartialState | None = None,
    ) -> None:  # fmt: skip
        self.rank: int = state.process_index if state else 0
        self.processes: int = state.num_processes if state else 1
        self.model, self.rows, self.config, self.seed, self.checkpoint = model, rows, config, seed, checkpoint
        self.lengths = [len(row) for row in rows]
        self.device = model.head.weight.device
        self.target = torch.from_numpy(known.target).float().to(self.device)
        self.weight = torch.from_numpy(known.weight).float().to(self.device)
        order = np.random.default_rng(seed).permutation(len(rows))
        aside = max(1, round(config.held_out * len(rows)))
        self.held_out, self.training = order[:aside].tolist(), order[aside:].tolist()
        if config.gradient_checkpointing:
            model.backbone.gradient_checkpointing_enable()
        flat = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim < 2]
        weights = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim >= 2]
        # The bias has no decay: decay pulls weights to 0, where they start, but the bias starts at the strengths.
        groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        # One kernel for all tensors: on a CPU a step over a vocabulary's rows then costs a sixth.
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.epochs: list[Epoch] = []
        self.step, self.running = 0, 0.0  # within the epoch: steps done, and the weighted loss so far
        self.best = model.trained_state() if self.rank == 0 else {}

    def fit(self, on_epoch: Callable[[Epoch], None], on_step: Callable[[int], None]) -> list[Epoch]:
        self._resume()
        if not self.epochs:
            self.epochs = [Epoch(0, self._first_loss(self.training), self._first_loss(self.held_out))]
        for epoch in self.epochs:
            on_epoch(epoch)
        while len(self.epochs) <= self.config.epochs and len(self.epochs) - 1 - self._best() < self.config.patience:
            train_loss = self._pass(on_step)
            self.epochs.append(Epoch(len(self.epochs), train_loss, self._loss(self.held_out)))
            if self._best() == len(self.epochs) - 1 and self.rank == 0:
                self.best = self.model.trained_state()
            self.step, self.running = 0, 0.0
            self.save()
            on_epoch(self.epochs[-1])
        if self.rank == 0:
            self.model.restore({name: tensor.to(self.device) for name, tensor in self.best.items()})
        return self.epochs

    @contextlib.contextmanager
    def off_device(self) -> Iterator[None]:
        """Keep the model on the CPU inside the block, so that other processes have the GPU's memory."""
        self.model.cpu()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        yield
        self.model.to(self.device)

    def _best(self) -> int:
        return min(self.epochs, key=lambda epoch: epoch.held_out_loss).number  # of equals the first

    def _pass(self, on_step: Callable[[int], None]) -> float:
        """Run the epoch's remaining steps; returns the epoch's mean loss per unit of preference weight."""
        self.model.train()
        size = self.config.batch_size * self.config.accumulation
        parts = mixed(self.training, self.lengths, size, seed=[self.seed, len(self.epochs)])
        for number, part in enumerate(parts):
            if number < self.step:
                continue
            self.running += self._step(part)
            self.step = number + 1
            if self.step % self.config.checkpoint_steps == 0:
                self.save()
            on_step(self.step)
        return self.running / max(float(self.weight[self.training].sum()), 1e-12)

    def _step(self, part: list[int]) -> float:
        """Take one optimiser step on these prompts, of which each process reads its share; returns the summed loss."""
        total = self.weight[part].sum().clamp(min=1e-12)
        prompts = part[self.rank :: self.processes]
        # A process without a prompt reads one with weight 0, because each process must have a gradient to add.
        counted, prompts = (1.0, prompts) if prompts else (0.0, part[:1])
        summed = 0.0
        self.optimiser.zero_grad()
        for start in range(0, len(prompts), self.config.batch_size):
            batch = prompts[start : start + self.config.batch_size]
            loss = counted * bradley_terry_loss(self._forward(batch), self.target[batch], self.weight[batch])
            (loss / total).backward()
            summed += float(loss.detach())
        if self.processes > 1:
            for tensor in self.model.parameters():
                if tensor.grad is not None:
                    tensor.grad = accelerate.utils.reduce(tensor.grad, "sum")
        self.optimiser.step()
        return self._sum(summed)

    def _loss(self, indices: list[int]) -> float:
        self.model.eval()
        loss, size = 0.0, self.config.batch_size
        indices = sorted(indices, key=self.lengths.__getitem__)
        with torch.no_grad():
            for start in range(self.rank * size, len(indices), self.processes * size):
                part = indices[start : start + size]
                loss += float(bradley_terry_loss(self._forward(part), self.target[part], self.weight[part]))
        return self._sum(loss) / max(float(self.weight[indices].sum()), 1e-12)

    def _first_loss(self, indices: list[int]) -> float:
        """Loss of the untrained head; needs no forward pass, since every prompt gets the bias."""
        with torch.no_grad():
            same = self.model.head.bias.expand(len(indices), -1)
            loss = float(bradley_terry_loss(same, self.target[indices], self.weight[indices]))
        return loss / max(float(self.weight[indices].sum()), 1e-12)

    def _sum(self, value: float) -> float:
        """The sum over all processes; each gets the same number, so that all of them stop at the same epoch."""
        if self.processes == 1:
            return value
        return float(accelerate.utils.reduce(torch.tensor(value, dtype=torch.float64, device=self.device), "sum"))

    def _forward(self, part: list[int]) -> Tensor:
        half = self.config.dtype == "bfloat16" or (self.config.dtype == "auto" and self.device.type == "cuda")
        context = torch.autocast(self.device.type, torch.bfloat16) if half else contextlib.nullcontext()
        with context:
            vectors = self.model.embed(*collate([self.rows[index] for index in part], self.device))
        result: Tensor = self.model.head(vectors.float())  # float32, because margins are finer than bfloat16
        return result

    def _random(self) -> list[Tensor]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [])]

    def save(self) -> None:
        if self.checkpoint is None:
            return
        # Each process has its own generator.
        random = accelerate.utils.gather_object([self._random()]) if self.processes > 1 else [self._random()]
        if self.rank > 0:
            return
        state = {
            "model": self.model.trained_state(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "epochs": [list(epoch) for epoch in self.epochs],
            "step": self.step,
            "running": self.running,
            "generators": random,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.checkpoint) as file:
            torch.save(state, file)

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.model.restore(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = state["best"] if self.rank == 0 else {}
        self.step, self.running = state["step"], state["running"]
        self.epochs = [Epoch(*epoch) for epoch in state["epochs"]]
        for generators in state["generators"][self.rank : self.rank + 1]:  # none, where there were fewer processes
            torch.set_rng_state(generators[0])
            if len(generators) > 1 and self.device.type == "cuda":
                torch.cuda.set_rng_state(generators[1], self.device)


class _Task(NamedTuple):
    """The arguments of a process that takes part in a training; the weights are in the checkpoint."""

    backbone: Any  # its configuration
    pooling: Pooling
    teachers: int
    rows: Sequence[list[int]]
    known: Pairs
    config: config.Router
    seed: int
    checkpoint: Path
    device: str


def _train_together(processes: int, task: _Task, on_step: Callable[[int], None]) -> None:
    """Train to the end in `processes` processes. Raises ModelError if one fails, and any error of `on_step`."""
    context = torch.multiprocessing.get_context("spawn")  # a forked process may not use the GPU
    steps = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (processes, f"file://{folder}/processes", task, steps, os.getpid())
        started = torch.multiprocessing.spawn(_take_part, arguments, processes, join=False)
        try:
            finished = False
            while not finished:
                finished = started.join(timeout=0.2)
                while not steps.empty():
                    on_step(steps.get())
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException) as exc:
            raise ModelError(f"One of {processes} processes that train the router failed: {exc}") from exc
        finally:
            for process in started.processes:
                process.kill()
                process.join()


def _take_part(rank: int, processes: int, place: str, task: _Task, steps: Any, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(number) for name, number in variables.items()}
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    state = accelerate.PartialState(cpu=task.device == "cpu", init_method=place, rank=rank, world_size=processes)
    torch.manual_seed(task.seed + rank)
    model = untrained(task.backbone, pooling=task.pooling, n_teachers=task.teachers).to(state.device)
    run = _Training(model, task.rows, task.known, task.config, task.seed, task.checkpoint, state)
    run.fit(_ignore, steps.put if rank == 0 else _ignore)
    state.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone; it would otherwise wait for the others and hold its GPU for minutes."""

    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
