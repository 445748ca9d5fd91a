"""What the parent does about the executor's news: commit, display, refresh the tables."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bench.execute.progress.display import Display, Progress, duration
from bench.execute.progress.eta import Eta
from bench.execute.refresh import Refresher
from bench.execute.schedule import Kind, Task
from bench.matrix.cells import Cell
from bench.records.outcome import Failure, Keys, Outcome, failed
from bench.records.record import RETRIED, Record, Status
from bench.records.results import Results

_LONG = 60.0
"""Seconds; a run that has its first seed sooner has its last table soon."""


class Control:
    """Commits every outcome as it comes and keeps the user informed.

    As a context manager it notes an interruption (Ctrl-C, or the SIGTERM with which cluster schedulers end a
    job) instead of passing it on, so that the tables can still be written.

    Args:
        results: where cells are committed.
        display: what the user looks at.
        refresher: keeps the tables up to date.
        total: cells that are to be measured; those that are declared impossible are none.
        device: for the records of cells that never reached one.
        workers: for the estimate of the time left.
        first: cells of the first seed: when they are completed, the first complete table stands.
    """

    def __init__(
        self,
        results: Results,
        display: Display,
        refresher: Refresher,
        *,
        total: int,
        device: str,
        workers: int,
        first: Collection[str] = (),
    ) -> None:
        self.completed = 0
        self.elsewhere = 0
        self.interrupted = False
        self._results = results
        self._display = display
        self._refresher = refresher
        self._device = device
        self._eta = Eta(workers)
        self._total = total
        self._failed = 0
        self._refused = 0
        self._running: dict[Task, float] = {}
        self._rounds: dict[Task, tuple[int, int]] = {}
        self._remaining: list[Task] = []
        self._before: Any = None
        self._first = set(first)
        self._first_table = False
        self._begun = time.monotonic()

    def __enter__(self) -> Control:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> bool:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        self._refresher.stop()
        self._display.close()
        self.interrupted = kind is KeyboardInterrupt
        if self.interrupted:
            self._display.message("interrupted: finished cells are kept; the same command continues")
        return self.interrupted

    def write_tables(self) -> bool:
        """Writes the tables of all that is finished; whether that worked."""
        problem = self._refresher.final()
        if problem:
            self._display.message(problem)
        return not problem

    def refuse(self, cell: Cell, keys: Keys, reason: str) -> None:
        """Commits a cell that is declared impossible: that is no work, and no progress."""
        failure = Failure(status=Status.INCOMPATIBLE, reason=reason)
        self._refused += 1
        self.settle(failed(cell, keys, failure, device=self._device), 0.0)

    def settle(self, outcome: Outcome, seconds: float) -> None:
        """Commits a cell and says so."""
        self._results.commit(outcome)
        self.completed += 1
        self._show(outcome.record, seconds)

    def completed_elsewhere(self, record: Record) -> None:
        """Another run has completed a cell of this one."""
        self.elsewhere += 1
        self._show(record, 0.0)

    def _show(self, record: Record, seconds: float) -> None:
        self._failed += record.status in RETRIED
        if record.id in self._first:
            self._first.remove(record.id)
            self._first_table = time.monotonic() - self._begun >= _LONG
            if self._first_table and not self._first:
                self._refresher.request()
        title = record.asked.title
        self._display.finished(title, record.status, record.reason, seconds, self.progress())

    def learn(self, records: Iterable[Record]) -> None:
        """Takes what earlier cells of the folder took as a first guess of the time left."""
        seen: set[str] = set()
        for record in records:
            if record.status is not Status.DONE:
                continue
            spent, keys = record.seconds, Keys(**record.stages.model_dump(), scores=record.key)
            parts = [
                (Kind.CELL, record.key, spent.release + spent.reconstruction + spent.scores),
                (Kind.VICTIM, keys.victim, spent.victim),
                (Kind.EVALUATOR, keys.evaluator, spent.evaluator or 0.0),
                (Kind.GENERATOR, keys.generator, spent.generator or 0.0),
            ]
            for kind, name, seconds in parts:
                if name and name not in seen:
                    seen.add(name)
                    task = Task(kind=kind, cell=record.asked, keys=keys)
                    self._eta.observe(task, seconds)

    def expected(self, task: Task) -> float | None:
        """Seconds that a task will take; None while nothing is known of its kind."""
        return self._eta.expected(task)

    def begun(self, task: Task) -> None:
        """A worker has taken a task."""
        self._running[task] = time.monotonic()
        self._display.update(self.progress())

    def trained(self, task: Task, turn: int, rounds: int) -> None:
        """Keeps how far a training has come for the next look at the progress."""
        self._rounds[task] = (turn, rounds)

    def ended(self, task: Task, result: Outcome | Failure | None, seconds: float) -> None:
        """A task is over: a cell is committed, whatever came of it."""
        self._running.pop(task, None)
        self._rounds.pop(task, None)
        self._eta.observe(task, seconds)
        if task.kind is not Kind.CELL:
            if isinstance(result, Failure):
                self._display.message(f"{task.title}: {result.status}: {result.reason}")
            return
        if isinstance(result, Failure):
            self.lost(task, result, seconds)
        elif result is not None:
            self.settle(result, seconds)

    def lost(self, task: Task, failure: Failure, seconds: float = 0.0) -> None:
        """A cell has no result: its record says why."""
        self.settle(failed(task.cell, task.keys, failure, device=self._device), seconds)

    def finish(self, counts: Mapping[str, int], seconds: float) -> None:
        """Shows how the run ended."""
        self._display.finish(counts, seconds)

    def note(self, text: str) -> None:
        """Passes on what a worker or the store says."""
        self._display.message(text)

    def tick(self, remaining: list[Task]) -> None:
        """Redraws, and refreshes the tables when it is time."""
        self._remaining = remaining
        if problem := self._refresher.tick():
            self._display.message(problem)
        elif self._first_table and not self._first and self._refresher.served:
            self._first_table = False
            spent = duration(time.monotonic() - self._begun)
            self._display.message(
                f"after {spent} the first seed is complete: its table is {self._refresher.table}; further "
                "seeds make it more certain"
            )
        self._display.update(self.progress())

    def progress(self) -> Progress:
        """Where the run stands."""
        now = time.monotonic()
        running = [(task, now - begun) for task, begun in self._running.items()]
        return Progress(
            total=self._total,
            done=self.completed - self._refused + self.elsewhere,
            failed=self._failed,
            running=tuple(task.title for task, _ in running),
            rounds=tuple(self._rounds.get(task) for task, _ in running),
            eta=self._eta.estimate(self._remaining, running),
        )
