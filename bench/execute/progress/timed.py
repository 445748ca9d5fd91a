"""How long a network of the user's will train, from two rounds of its training: no record knows it yet."""

from __future__ import annotations

import time

from bench.cache.store import Store
from bench.matrix.cells import Cell

TIMED = 2
"""Rounds that are timed, after a first one that warms up."""


class _Enough(Exception):
    """Ends a training whose rounds have been timed."""


def training_seconds(cell: Cell, *, device: str, store: Store) -> float:
    """Seconds that the victim of a cell will train on one thread, as a worker does.

    The training begins as in the run and is given up after its third round; nothing of it is kept.

    Args:
        cell: names data, model, defense and protocol.
        device: ``cpu`` or ``cuda:0``.
        store: of the run; nothing is written to it.

    Raises:
        Exception: whatever the network or its data raise.
    """
    import torch

    from bench.cells.context import Context
    from bench.cells.stages import victim
    from bench.victims.rounds import listening

    place = torch.device(device)
    data = Context(store, place).data(cell)
    ends: list[float] = []
    total = 1

    def stop(turn: int, rounds: int) -> None:
        nonlocal total
        ends.append(time.perf_counter())
        total = rounds
        if turn > TIMED:
            raise _Enough

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    try:
        with listening(stop):
            victim(cell, data, place)
    except _Enough:
        return total * (ends[-1] - ends[0]) / TIMED
    finally:
        torch.set_num_threads(threads)
    return time.perf_counter() - begun  # it has no more rounds than these
