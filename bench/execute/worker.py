"""A worker process: tasks in, outcomes out, on one device and one thread."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.errors import BenchError, IncompatibleError
from bench.cells.memory import limit_memory
from bench.execute.process_state import changes, children, process_state
from bench.execute.schedule import Kind, Task
from bench.records.files import DiskFullError, disk
from bench.records.outcome import Failure, Outcome
from bench.records.provenance import machine
from bench.records.record import Status

if TYPE_CHECKING:
    from bench.cells.context import Context

_PACKAGE = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1


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
class DiskFull:
    """Nothing can be stored; the run has to stop."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The task is over; a victim or an evaluator has no outcome, its result is in the store.

    Attributes:
        result: what came of it.
        spoiled: the process is no longer what it was: nothing else may run in it.
    """

    result: Outcome | Failure | None
    spoiled: bool = False


Report = Ready | Note | Waiting | DiskFull | Ended
Channel = connection.Connection


def main(channel: Channel, settings: Settings) -> None:
    """Works until the parent closes the channel, or is gone."""
    _live_and_die_with_the_parent()
    os.dup2(2, 1)  # stdout belongs to the parent's display; what plug-ins print goes to stderr
    context = open_context(settings, channel.send)
    limit_memory(context.device)
    channel.send(Ready())
    while True:
        try:
            task: Task = channel.recv()
        except (EOFError, OSError):
            return
        channel.send(attempt(task, context))


def open_context(settings: Settings, say: Callable[[Note | Waiting], None]) -> Context:
    """What a worker keeps between tasks, on its device; warnings of the store are said."""
    os.environ.update(settings.environment)
    import torch

    from bench.cache.store import Store
    from bench.cells.context import Context
    from bench.engine.memory import set_limit

    set_limit(settings.memory)
    store = Store(
        settings.cache,
        warn=lambda text: say(Note(text)),
        waiting=lambda begun: say(Waiting(begun)),
    )
    return Context(store, torch.device(settings.device), settings.pool)


def attempt(task: Task, context: Context) -> Ended | DiskFull:
    """Does a task; whatever it raises becomes a reason, and what it leaves running is ended."""
    from bench.cells.determinism import make_deterministic

    make_deterministic(context.device)
    before, own = process_state(), children()
    found = _attempt(task, context)
    left = [number for number in children() if number not in own]
    for number in left:
        with suppress(OSError):
            os.kill(number, signal.SIGKILL)
    spoiled = bool(left or changes(before, process_state()))
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
    except BaseException as error:  # a plug-in may even call sys.exit: the run goes on
        return Ended(replace(explain(error), machine=machine(context.device)))


def explain(error: BaseException) -> Failure:
    """Status, reason and the end of the traceback of what a task raised."""
    import torch

    tail = "".join(traceback.format_exception(error)).replace(f"{_PACKAGE.parent}{os.sep}", "")
    said = _message(error)
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in said for words in ("can't allocate memory", "std::bad_alloc", "Cannot allocate memory")
    )
    if isinstance(error, IncompatibleError):
        return Failure(status=Status.INCOMPATIBLE, reason=said)
    text = said if isinstance(error, BenchError) else f"{type(error).__name__}: {said}".rstrip(": ")
    return Failure(status=Status.OOM if memory else Status.FAILED, reason=text, traceback=tail)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the exception is a plug-in's own
        return "its message cannot be read"


def _live_and_die_with_the_parent() -> None:
    """Ctrl-C is the parent's business; its death, however sudden, is ours too, and that of all we started."""
    with suppress(OSError):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):  # Linux: also when a plug-in never gives the interpreter back
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    with suppress(OSError):
        os.killpg(os.getpgid(0), signal.SIGKILL)  # whatever a plug-in has started, and this process
    os._exit(1)
