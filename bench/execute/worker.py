"""A worker process: tasks in, outcomes out, on one device and one thread; beside it, that of its attacks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cells.attack_process import AttackDied, AttackProcess
from bench.cells.failures import explain
from bench.cells.memory import limit_memory
from bench.cells.process_state import left_by, live_and_die_with_the_parent
from bench.execute.schedule import Kind, Task
from bench.records.files import DiskFullError, disk
from bench.records.outcome import Failure, Outcome
from bench.records.provenance import machine

if TYPE_CHECKING:
    from bench.cells.context import Context

PAUSE = 1.0
"""Seconds between two reports of a training."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a worker is told once."""

    device: str
    cache: Path
    environment: dict[str, str]
    pool: int | None = None
    memory: int | None = None


# What a worker tells its parent.
@dataclass(frozen=True)
class Ready:
    """The worker can take a task."""


@dataclass(frozen=True)
class Note:
    """Something that the user should read."""

    text: str


@dataclass(frozen=True)
class Waiting:
    """Another process computes what this one needs: the time limit rests until it has ended."""

    begun: bool


@dataclass(frozen=True)
class Training:
    """How far a training has come; said now and then."""

    turn: int
    rounds: int


@dataclass(frozen=True)
class DiskFull:
    """Nothing can be stored; the run has to stop."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The task is over; a victim or an evaluator has no outcome, its result is in the store.

    Attributes:
        result: what came of it.
        spoiled: the process, or that of its attacks, is no longer what it was: nothing else may run in it.
    """

    result: Outcome | Failure | None
    spoiled: bool = False


Report = Ready | Note | Waiting | Training | DiskFull | Ended
Channel = connection.Connection


def main(channel: Channel, settings: Settings) -> None:
    """Works until the parent closes the channel, or is gone."""
    with suppress(OSError):
        os.setsid()
    os.dup2(2, 1)  # stdout belongs to the parent's display; what plug-ins print goes to stderr
    os.environ.update(settings.environment)
    import torch

    device = torch.device(settings.device)
    # The process of the attacks is forked while there is nothing yet that it must not see.
    attacks = AttackProcess(get_context("fork"), device, memory=settings.memory, closes=(channel,))
    live_and_die_with_the_parent()
    context = open_context(settings, channel.send, attacks)
    limit_memory(device)
    channel.send(Ready())
    while True:
        try:
            task: Task = channel.recv()
        except (EOFError, OSError):
            return
        with told(channel.send):
            result = attempt(task, context)
        channel.send(result)


def open_context(
    settings: Settings, say: Callable[[Note | Waiting], None], attacks: AttackProcess
) -> Context:
    """What a worker keeps between tasks, on its device; warnings of the store are said."""
    import torch

    from bench.cache.store import Store
    from bench.cells.context import Context

    store = Store(
        settings.cache,
        warn=lambda text: say(Note(text)),
        waiting=lambda begun: say(Waiting(begun)),
    )
    return Context(store, torch.device(settings.device), settings.pool, attacks)


@contextmanager
def told(say: Callable[[Training], None]) -> Iterator[None]:
    """Reports how far the trainings in this block have come, once in a while."""
    from bench.victims.rounds import listening

    last = time.monotonic()

    def hear(turn: int, rounds: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            say(Training(turn, rounds))

    with listening(hear):
        yield


def attempt(task: Task, context: Context) -> Ended | DiskFull:
    """Does a task; whatever it raises becomes a reason, and what it leaves running is ended."""
    from bench.cells.determinism import make_deterministic

    make_deterministic(context.device)
    found, spoiled = left_by(lambda: _attempt(task, context))
    spoiled |= context.spoiled
    return replace(found, spoiled=True) if spoiled and isinstance(found, Ended) else found


def _attempt(task: Task, context: Context) -> Ended | DiskFull:
    from bench.cells.cell import Results, run_cell

    try:
        with disk(context.store.root):
            if task.kind is Kind.CELL:
                return Ended(run_cell(task.cell, task.keys, context))
            getattr(Results(task.cell, task.keys, context), task.kind)
        return Ended(None)
    except DiskFullError as error:
        return DiskFull(str(error))
    except AttackDied as error:
        error.repeat()
    except BaseException as error:  # a plug-in may even call sys.exit: the run goes on
        return Ended(replace(explain(error), machine=machine(context.device)))
