"""A name on the hub needs the library `datasets`, and one form."""

import importlib.util

import pytest

from persyn.errors import ConfigError, MissingExtra
from persyn.imports.hub import NAME
from persyn.imports.reader import open_source


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("hf://openai/gsm8k", ("openai/gsm8k", None, None)),
        ("hf://openai/gsm8k/main:test", ("openai/gsm8k", "main", "test")),
        ("hf://datasets/owner/name:train", ("owner/name", None, "train")),
    ],
)
def test_the_form_of_a_name(location: str, parts: tuple[str | None, ...]) -> None:
    found = NAME.fullmatch(location)
    assert found is not None
    assert (found["name"], found["config"], found["split"]) == parts


@pytest.mark.parametrize("location", ["hf://", "hf://a/b/c/d", "hf://a b"])
def test_another_form_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="hf://OWNER/NAME"), open_source(location):
        pass


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the library is installed here")
def test_without_the_library_the_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"persyn\[hub\]"), open_source("hf://owner/name"):
        pass
