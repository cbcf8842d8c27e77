"""Renders messages as the text and the tokens that a model reads.

Every count of an answer's tokens comes from `with_answer`, so that all count the same ones. A prompt or an answer is
data: it may not forge the tokens that open and close a turn, so a text that spells one is tokenised as ordinary text.
Tools and their calls are rendered by the template alone, which must know them; texts in them may spell no such token.
No tokenizer library is imported here: the caller passes a tokenizer in.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from persyn.errors import ChatError
from persyn.tools import Call, Tool, in_words, tool_name, with_objects

Messages = Sequence[Mapping[str, Any]]


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any
    bos_token_id: int | None
    eos_token_id: int | None

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...

    def apply_chat_template(
        self, conversation: Any, *, tools: Any = None, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool = False) -> list[int]: ...


class Answered(NamedTuple):
    """An answer with the conversation that it ends, the tools that were offered there, and its calls of them."""

    messages: Messages
    answer: str
    tools: Sequence[Tool] | None = None
    tool_calls: Sequence[Call] | None = None


class Encoded(NamedTuple):
    """Token ids, and for each whether it belongs to the answer, over whose tokens a loss or a mean is taken."""

    ids: list[int]
    mask: list[bool]


def conversation(messages: Messages, *, system_prompt: str | None, examples: Messages) -> list[dict[str, Any]]:
    """The messages for a teacher: its system prompt, its worked examples, then the prompt's own messages.

    Chat templates know one system message, at the front. So where the prompt opens with one of its own, that text is
    joined after the teacher's with a blank line: the teacher's says how to answer, the prompt's says what is asked.
    """
    own = [dict(message) for message in messages]
    for message in own:
        if "tool_calls" in message and not message["content"]:
            message["content"] = None  # some servers refuse an empty text
    system = [system_prompt] if system_prompt else []
    if own and own[0]["role"] == "system":
        system.append(own.pop(0)["content"])
    head = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    return head + [dict(message) for message in examples] + own


def spoken(answered: Answered) -> Answered:
    """The same for a reader who knows no tools: they are a message of their own, and calls stand in the texts."""
    offered = [{"role": "tools", "content": json.dumps(answered.tools, ensure_ascii=False)}] if answered.tools else []
    talk = [
        {"role": message["role"], "content": in_words(message["content"], message.get("tool_calls"))}
        for message in answered.messages
    ]
    return Answered(offered + talk, in_words(answered.answer, answered.tool_calls))


def with_answer(
    tokenizer: Tokenizer, messages: Messages, answer: str, tools: Sequence[Tool] | None = None,
    tool_calls: Sequence[Call] | None = None, *, max_length: int | None = None, answer_tokens: int | None = None,
    include_end: bool = False,
) -> Encoded:  # fmt: skip
    """The prompt as the student's template renders it before its own turn, then the answer.

    The mask is true on the answer's tokens. The token that ends the turn is not among them: the paper's mean is over
    the answer y, and how a student scores its own stop sign says nothing about the answer. A student that learns the
    answer must learn to stop too: `include_end` adds that token, and the mask is true on it.

    `max_length` cuts the answer's tail and never the prompt; `answer_tokens` keeps the answer's first tokens only,
    whatever the prompt's length. With `include_end` nothing is cut, because who learns cut answers learns never to
    stop.
    Raises ChatError: `context_too_long` where the prompt leaves no room, or with `include_end` where answer and end
    do not fit, `template_refused` where the template fails, `no_tools` where it cannot render tools, `no_stop_token`
    where it ends no turn.
    """
    prompt = prompt_ids(tokenizer, messages, generation_prompt=True, tools=tools)
    if max_length is not None and len(prompt) >= max_length:
        raise ChatError(
            "context_too_long",
            f"The prompt alone takes {len(prompt)} tokens of max_length {max_length}, which leaves none for the answer."
            " Raise student.max_length or drop the prompt.",
        )
    if tool_calls:
        target = _encode_template(tokenizer, _turn_with_calls(tokenizer, messages, answer, tools, tool_calls))
    else:
        target = _encode_text(tokenizer, answer)
    if include_end:
        target = target + stop_ids(tokenizer, messages, tools)
        _check_room(len(prompt) + len(target), max_length)
    if max_length is not None:
        target = target[: max_length - len(prompt)]
    target = target[:answer_tokens]
    return Encoded(prompt + target, [False] * len(prompt) + [True] * len(target))


def _check_room(tokens: int, max_length: int | None) -> None:
    if max_length is not None and tokens > max_length:
        raise ChatError(
            "context_too_long",
            f"Prompt and answer take {tokens} tokens of max_length {max_length}. Raise student.max_length or drop the"
            " answer.",
        )


def stop_ids(tokenizer: Tokenizer, messages: Messages, tools: Sequence[Tool] | None = None) -> list[int]:
    """The ids that the template writes after an answer to these messages, up to the token that ends the turn.

    That token is the first one that stands for no text; what follows it, a line break, is the next turn's business.
    Raises ChatError `no_stop_token` where there is no template, or none such in it, beside those of `prompt_ids`.
    """
    if not tokenizer.chat_template:
        raise ChatError(
            "no_stop_token",
            "The student has no chat template, so nothing says how a turn ends. Set student.model to one that has"
            " one, such as its instruct version, or put a chat_template.jinja into its folder.",
        )
    told = _fitting(tokenizer, messages, True, tools)
    ids = _encode_template(tokenizer, _after(tokenizer, told, {"role": "assistant", "content": ""}, tools))
    for place, token in enumerate(ids):
        known = tokenizer.added_tokens_decoder.get(token)
        if known is not None and known.special:
            return ids[: place + 1]
    raise ChatError("no_stop_token", "The student's chat template ends an answer's turn with no token of its own.")


def _after(tokenizer: Tokenizer, messages: Messages, turn: Mapping[str, Any], tools: Sequence[Tool] | None) -> str:
    """The text that the template writes after the content of this turn, which follows the messages."""
    mark = uuid4().hex
    return _render(tokenizer, [*messages, {**turn, "content": mark}], False, tools).rpartition(mark)[2]


def answer_alone(tokenizer: Tokenizer, encoded: Encoded) -> tuple[list[int], int]:
    """The answer of `with_answer` without its prompt: its ids, and how many of them only open the sequence."""
    begin = _begin(tokenizer)
    return begin + encoded.ids[len(encoded.ids) - sum(encoded.mask) :], len(begin)


def prompt_ids(
    tokenizer: Tokenizer, messages: Messages, *, generation_prompt: bool, tools: Sequence[Tool] | None = None
) -> list[int]:
    """The messages as token ids, in the tokenizer's chat template.

    A tokenizer without a template gets plain text: the contents, each followed by a blank line, after the beginning
    of sequence token where the tokenizer would put one. A template without a system role finds the system text at the
    head of the first user turn.
    Raises ChatError: `template_refused` where the template fails on these messages, `no_tools` where it leaves out the
    tools or a call of one.
    """
    _check_tools(tokenizer, messages, tools)
    if not tokenizer.chat_template:
        text = "".join(f"{message['content']}\n\n" for message in messages)
        return _begin(tokenizer) + _encode_text(tokenizer, text)
    messages = _fitting(tokenizer, messages, generation_prompt, tools)
    if any(_spells_special(tokenizer, message["content"]) for message in messages):
        return _in_pieces(tokenizer, messages, generation_prompt, tools)
    # In one piece wherever it is safe: tokens may span the seam between the template's text and the content.
    return _encode_template(tokenizer, _render(tokenizer, messages, generation_prompt, tools))


def _check_tools(tokenizer: Tokenizer, messages: Messages, tools: Sequence[Tool] | None) -> None:
    """Raises ChatError where the template would leave out a tool or a call, or where one spells a special token."""
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    if not tools and not calls:
        return
    names = {tool_name(one) for one in (*(tools or ()), *calls)}
    text = _render(tokenizer, messages, False, tools) if tokenizer.chat_template else ""
    if any(name not in text for name in names):
        raise ChatError("no_tools", "The model's chat template leaves out tools, which this prompt has.")
    if _spells_special(tokenizer, json.dumps([tools, calls], ensure_ascii=False)):
        raise ChatError("no_tools", "A text in the prompt's tools or calls spells a special token of the model.")


def _turn_with_calls(
    tokenizer: Tokenizer, messages: Messages, answer: str, tools: Sequence[Tool] | None, tool_calls: Sequence[Call]
) -> str:
    """The assistant's turn as the template writes it after its opening, without what ends a turn."""
    turn = {"role": "assistant", "content": answer}
    talk = [*messages, turn | {"tool_calls": tool_calls}]
    _check_tools(tokenizer, talk, tools)
    if _spells_special(tokenizer, answer):
        raise ChatError("no_tools", "The answer calls a tool, and its text spells a special token of the model.")
    opening, whole = _render(tokenizer, messages, True, tools), _render(tokenizer, talk, False, tools)
    if not whole.startswith(opening):
        raise ChatError("no_tools", "The model's chat template writes a turn with calls in no form that can be cut.")
    return whole.removeprefix(opening).removesuffix(_after(tokenizer, messages, turn, tools))


def _in_pieces(
    tokenizer: Tokenizer, messages: Messages, generation_prompt: bool, tools: Sequence[Tool] | None
) -> list[int]:
    """Render with a stand-in for each content, then encode the template's text and the contents apart."""
    marks = [uuid4().hex for _ in messages]
    stripped = [message["content"].strip() for message in messages]
    # White space around a content stays outside the stand-in, so that a template that trims it still does.
    hidden = [
        {**message, "content": message["content"].replace(text, mark, 1) if text else message["content"]}
        for message, text, mark in zip(messages, stripped, marks, strict=True)
    ]
    rest = _render(tokenizer, hidden, generation_prompt, tools)
    ids: list[int] = []
    for text, mark in zip(stripped, marks, strict=True):
        before, found, after = rest.partition(mark)
        if found:
            ids += _encode_template(tokenizer, before) + _encode_text(tokenizer, text)
            rest = after
    return ids + _encode_template(tokenizer, rest)


def without_system(messages: Messages) -> list[dict[str, Any]]:
    """The messages with the system text at the head of the first user turn, for a model that knows no system role.

    Messages without a system message in front, or without a user turn behind it, stay as they are.
    """
    plain = [dict(message) for message in messages]
    if len(plain) < 2 or (plain[0]["role"], plain[1]["role"]) != ("system", "user"):
        return plain
    system, first, *rest = plain
    joined = "\n\n".join(text for text in (system["content"], first["content"]) if text.strip())
    return [{**first, "content": joined}, *rest]


def _fitting(
    tokenizer: Tokenizer, messages: Messages, generation_prompt: bool, tools: Sequence[Tool] | None
) -> list[dict[str, Any]]:
    """The messages as the template takes them: with their system message, or with its text in the first user turn.

    Raises ChatError, with the template's own reason, where it takes them in neither way.
    """
    folded = without_system(messages)
    if folded == list(messages):
        return folded
    try:
        plain = _render(tokenizer, messages, generation_prompt, tools)
    except ChatError:
        with suppress(ChatError):
            _render(tokenizer, folded, generation_prompt, tools)
            return folded
        raise
    # Some templates leave a system message out without a word.
    system = messages[0]["content"].strip()
    left_out = system not in plain and system in _render(tokenizer, folded, generation_prompt, tools)
    return folded if left_out else [dict(message) for message in messages]


def _render(tokenizer: Tokenizer, messages: Messages, generation_prompt: bool, tools: Sequence[Tool] | None) -> str:
    # Some templates print a heading for an empty list.
    offered = {"tools": list(tools)} if tools else {}
    try:
        text = tokenizer.apply_chat_template(
            [_for_template(message) for message in messages], tokenize=False, add_generation_prompt=generation_prompt,
            **offered,
        )  # fmt: skip
    except Exception as exc:  # a template is a program of the model's author: it may raise anything
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise ChatError("template_refused", f"The model's chat template refused the messages: {reason}.") from exc
    return str(text)


def _for_template(message: Mapping[str, Any]) -> dict[str, Any]:
    """Templates write arguments as JSON, and ask whether a message has calls by whether it has the key."""
    plain = {key: value for key, value in message.items() if key != "tool_calls"}
    calls = message.get("tool_calls")
    return plain | {"tool_calls": with_objects(calls)} if calls else plain


def _encode_template(tokenizer: Tokenizer, text: str) -> list[int]:
    # The template writes its own special tokens, the beginning of the sequence among them.
    return list(tokenizer.encode(text, add_special_tokens=False)) if text else []


def _encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) if text else []


def _spells_special(tokenizer: Tokenizer, text: str) -> bool:
    return _encode_template(tokenizer, text) != _encode_text(tokenizer, text)


def _begin(tokenizer: Tokenizer) -> list[int]:
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer.encode("", add_special_tokens=True)[:1] == [bos] else []
