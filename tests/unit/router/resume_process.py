"""A training in a process of its own, to be killed: says each step it has done on its standard output."""

import sys
from pathlib import Path

import numpy as np
import torch

from persyn.config import Router
from persyn.router.train import save, train

PROMPTS = [[{"role": "user", "content": ("aaaa" if number % 2 else "zzzz") + str(number)}] for number in range(40)]
REWARDS = np.random.default_rng(0).normal(size=(40, 3)) + np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.6]] * 20)
CONFIG = Router(
    freeze_backbone=False, epochs=4, patience=4, batch_size=4, learning_rate=0.002, checkpoint_steps=3, max_length=32
)


def main(backbone: str, checkpoint: str, out: str) -> None:
    torch.set_num_threads(1)
    trained = train(
        PROMPTS, REWARDS, range(32), range(32, 40), CONFIG, 7, backbone, checkpoint=Path(checkpoint), device="cpu",
        on_step=lambda step: print("step", step, flush=True), on_epoch=lambda epoch: print("epoch", *epoch, flush=True),
    )  # fmt: skip
    print("sha256", save(trained, Path(out), {}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
