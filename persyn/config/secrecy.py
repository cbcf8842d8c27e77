"""Tells what in a user's file may be a secret, so that no message shows it."""

import re
from typing import Any

# A key of the YAML whose value is a secret.
SECRET_KEY = re.compile(
    r"api[_-]?key|secret|passw|credential|authori[sz]ation|bearer|(access|auth|api|hf)[_-]?token|^(key|token)$",
    re.IGNORECASE,
)
_PREFIX = re.compile(
    r"\b(sk|pk|rk|hf|gsk|xai|ghp|gho|glpat|nvapi|r8|tgp|csk|pplx|key)[-_][A-Za-z0-9._-]{4,}|\bAIza|\beyJ|\bbearer\s",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9_+=~-]{20,}")
_KINDS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))
_IN_URL = re.compile(r"://[^/\s]*@|[?&][^=\s]*(key|token|secret|sig)[^=\s]*=", re.IGNORECASE)


def holds_key(value: Any) -> bool:
    """Whether a value for a request holds a key: by what it is called, or by what keys of known services begin with."""
    if isinstance(value, dict):
        return any(
            holds_key(inner) or (isinstance(inner, str) and bool(inner and SECRET_KEY.search(name)))
            for name, inner in value.items()
        )
    if isinstance(value, list):
        return any(map(holds_key, value))
    return isinstance(value, str) and bool(_PREFIX.search(value))


def looks_secret(text: str) -> bool:
    """Whether the text may be a key or hold one. It errs towards yes: the cost is a value that is not shown."""
    if _PREFIX.search(text) or _IN_URL.search(text) or re.search(r"^[^/\s]+:[^/\s]+@", text):
        return True
    return any(sum(bool(kind.search(word)) for kind in _KINDS) >= 2 for word in _WORD.findall(text))
