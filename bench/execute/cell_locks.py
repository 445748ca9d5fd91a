"""Runs that share a folder: each cell is worked on by one of them, whatever comes of it.

A run locks a cell while it works on it; the lock lies in the cache, and the system opens it when its holder
dies. A result that another run has committed meanwhile is as good as one's own, and so is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from bench.execute.schedule import Claim, Task
from bench.records.files import default_cache, disk, sha256
from bench.records.record import Record
from bench.records.results import Results

if TYPE_CHECKING:
    from filelock import BaseFileLock


class CellLocks:
    """The cells that this run holds; as a context manager it holds none afterwards.

    Args:
        results: the folder that all these runs write to.
        before: its records when this run began, by cell id; they settle nothing, since they were to be run.
        completed: is told of a record that another run has written since.
    """

    def __init__(
        self, results: Results, before: Mapping[str, Record], completed: Callable[[Record], None]
    ) -> None:
        self._results = results
        self._before = before
        self._completed = completed
        self._held: dict[str, BaseFileLock] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def take(self, task: Task) -> Claim:
        """Claims a cell, unless another run works on it or has completed it."""
        from filelock import Timeout

        name = task.cell.id
        if name in self._held:
            return Claim.OURS
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return Claim.THEIRS
        record = self._results.record(name)
        if record is not None and record.key == task.keys.scores and record != self._before.get(name):
            lock.release()
            self._completed(record)
            return Claim.COMPLETED
        self._held[name] = lock
        return Claim.OURS

    def give_back(self, task: Task) -> None:
        """Lets others have a cell: it has its record, or nobody works on it any more."""
        if (lock := self._held.pop(task.cell.id, None)) is not None:
            lock.release()

    def _lock(self, name: str) -> BaseFileLock:
        from filelock import FileLock

        locks = default_cache() / "locks"
        with disk(locks):
            locks.mkdir(parents=True, exist_ok=True)
        place = sha256(f"{self._results.folder.resolve()}/{name}".encode())[:32]
        return FileLock(locks / f"cell-{place}.lock")
