"""The texts that verl trains on, as JSON; for reinforcement learning the prompts, each with its ground truth.

Run by the Python of an environment that has verl: `read_verl.py FILE MODEL OUT sft|rl`.
"""

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.dataset.rl_dataset import RLHFDataset

file, model, out, kind = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
if kind == "sft":
    rows = MultiTurnSFTDataset(file, tokenizer, OmegaConf.create({"pad_mode": "no_padding", "max_length": 1_000_000}))
    found = [tokenizer.decode(row["input_ids"][row["loss_mask"].bool()]) for row in rows]
else:
    options = {"max_prompt_length": 100_000, "cache_dir": out, "return_raw_chat": True}
    rows = RLHFDataset(file, tokenizer, OmegaConf.create(options))
    found = [[list(row["raw_prompt"]), row["data_source"], row["reward_model"]["ground_truth"]] for row in rows]
(Path(out) / "learnt.json").write_text(json.dumps(found))
