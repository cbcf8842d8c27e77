"""Cuts an export into training and validation rows: by the prompt alone, so that a growing set moves no row."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from persyn.exports.manifest import Split


def split_of(messages: Sequence[dict[str, Any]], validation: float, seed: int) -> Split:
    """The split of a prompt. Prompts that differ in case, punctuation and white space alone fall into the same."""
    if validation == 0.0:
        return "train"
    words = " ".join(normalised(message["content"]) for message in messages if message["role"] == "user")
    draw = int.from_bytes(hashlib.sha256(f"{seed}:split:{words}".encode()).digest()[:8], "big")
    return "validation" if draw < validation * 2.0**64 else "train"


def normalised(text: str) -> str:
    """The words of a text: compatibility forms folded, lower case, digits kept, what is neither a letter dropped."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
