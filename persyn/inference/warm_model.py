"""The one model that a worker keeps loaded in its own process."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class WarmModel:
    """Keeps the model that was asked for last; another one takes its place, as two at once may not fit."""

    def __init__(self, make_room: Callable[[], None]) -> None:
        """`make_room` is called before a model is loaded: a server may hold the memory that it needs."""
        self._make_room = make_room
        self._key: Hashable = None
        self._model: Any = None

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The model of this key (kind and version), loaded unless it is the one that is kept. Raises as `load` does."""
        if self._model is None or self._key != key:
            self.drop()
            self._make_room()
            self._model, self._key = load(), key
        model: T = self._model
        return model

    def drop(self) -> None:
        """Forget the model, so that its memory is free."""
        self._model = self._key = None
