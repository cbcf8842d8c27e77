"""Personalised synthetic data for one student model, by Route then Generate (arXiv 2510.10925)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persyn.errors import PersynError
    from persyn.python import Run, import_prompts

__version__ = "0.1.0"
__all__ = ["PersynError", "Run", "__version__", "import_prompts"]
_HOMES = {"PersynError": "persyn.errors", "Run": "persyn.python", "import_prompts": "persyn.python"}


def __getattr__(name: str) -> Any:
    """A name of the Python interface; its module is loaded when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'persyn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
