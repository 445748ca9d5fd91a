"""What a task raised, as a record keeps it."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from bench.api.errors import BenchError, IncompatibleError
from bench.records.outcome import Failure
from bench.records.record import Status

_PACKAGE = Path(__file__).resolve().parent.parent


class AttackFailed(BenchError):
    """An attack raised in its own process.

    Attributes:
        failure: what it raised.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def explain(error: BaseException) -> Failure:
    """Status, reason and the end of the traceback of what a task raised."""
    import torch

    if isinstance(error, AttackFailed):
        return error.failure
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
