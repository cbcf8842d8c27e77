"""A random Llama with one token a byte: a stand-in for a real model where only the plumbing matters.

For tests and benchmarks: a worker loads and serves it as any other model, and it takes next to no time.
"""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def build(folder: Path, *, hidden_size: int = 64, kind: str = "LlamaForCausalLM") -> str:
    """Save the model and its tokenizer; returns the folder.

    `kind`: transformers' class of the model. vLLM wants heads of 32 numbers, so a `hidden_size` of at least 64.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=hidden_size, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=0.5, max_position_embeddings=512, pad_token_id=None, num_labels=1,
    )  # fmt: skip
    getattr(transformers, kind)(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    return str(folder)
