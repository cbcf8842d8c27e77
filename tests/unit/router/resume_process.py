"""A training that can be killed half-way: run as a process it holds still after some steps and waits for its end."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from persyn.config import Router
from persyn.router.finetune import Epoch
from persyn.router.train import save, train

PROMPTS = [[{"role": "user", "content": ("aaaa" if number % 2 else "zzzz") + str(number)}] for number in range(80)]
REWARDS = np.random.default_rng(0).normal(size=(80, 3)) + np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.6]] * 40)
CONFIG = Router(
    freeze_backbone=False, epochs=4, patience=4, batch_size=4, learning_rate=0.002, checkpoint_steps=3, max_length=32
)


class Told:
    """What a training said: its steps, numbered within their epochs, and its epochs."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.epochs: list[Epoch] = []


def learn(backbone: str, folder: Path, name: str, *, after_step: Callable[[int], None] = lambda number: None) -> Told:
    """Train to the end, from the checkpoint if there is one. `after_step` gets how many steps this call has seen."""
    told = Told()

    def on_step(step: int) -> None:
        told.steps.append(step)
        after_step(len(told.steps))

    trained = train(
        PROMPTS, REWARDS, range(72), range(72, 80), CONFIG, 7, backbone, checkpoint=folder / f"{name}.checkpoint",
        device="cpu", on_step=on_step, on_epoch=told.epochs.append,
    )  # fmt: skip
    save(trained, folder / name, {})
    return told


def main(backbone: str, folder: str, name: str, steps: str) -> None:
    def hold(number: int) -> None:
        if number == int(steps):
            # Of several processes that train, one stands still, and the others wait for its gradients.
            for trainer in multiprocessing.active_children()[:1]:
                os.kill(trainer.pid or 0, signal.SIGSTOP)
            print("still", flush=True)
            signal.pause()

    torch.set_num_threads(1)
    learn(backbone, Path(folder), name, after_step=hold)


if __name__ == "__main__":
    main(*sys.argv[1:])
