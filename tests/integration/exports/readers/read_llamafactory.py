"""The texts that LLaMA-Factory trains on, as JSON: its own loader, converter and tokenisation over an export's folder.

Run by the Python of an environment that has LLaMA-Factory: `read_llamafactory.py FOLDER MODEL OUT`.
"""

import json
import sys
from pathlib import Path

from llamafactory.data.loader import get_dataset
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import AutoTokenizer, Seq2SeqTrainingArguments

folder, model, out = sys.argv[1:]
names = json.loads((Path(folder) / "dataset_info.json").read_text())
tokenizer = AutoTokenizer.from_pretrained(model)
data = DataArguments(
    template="qwen", dataset=",".join(names), dataset_dir=folder, cutoff_len=1_000_000, mask_history=True,
    overwrite_cache=True,
)  # fmt: skip
template = get_template_and_fix_tokenizer(tokenizer, data)
training = Seq2SeqTrainingArguments(output_dir=out)
rows = get_dataset(template, ModelArguments(model_name_or_path=model), data, training, "sft", tokenizer)[
    "train_dataset"
]
learnt = [tokenizer.decode([token for token in row["labels"] if token >= 0]) for row in rows]
(Path(out) / "learnt.json").write_text(json.dumps(learnt))
