"""How far a training has come, for whoever wants to be told; nobody is, and nothing changes, unless asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

ItemT = TypeVar("ItemT")
Listener = Callable[[int, int], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls ``listener(turn, rounds)`` after every round of the trainings in this block.

    What the listener raises ends the training.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def in_rounds(items: Sequence[ItemT]) -> Iterator[tuple[int, ItemT]]:
    """Each item with its number, from 1; a round ends when the next one is asked for.

    Args:
        items: what each round takes, such as the indices of its batch.
    """
    for turn, item in enumerate(items, start=1):
        yield turn, item
        if (listener := _listener.get()) is not None:
            listener(turn, len(items))
