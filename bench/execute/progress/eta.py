"""How long a run will still take, from what its tasks have taken so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bench.execute.schedule import Task


class Eta:
    """Mean seconds per kind of task; kinds not seen yet count as the mean of the nearest ones."""

    def __init__(self, workers: int) -> None:
        self._workers = max(1, workers)
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def observe(self, task: Task, seconds: float) -> None:
        """Notes how long a task took."""
        for length in range(1, len(task.group) + 1):
            self._seconds[task.group[:length]].append(seconds)

    def estimate(self, remaining: Iterable[Task], running: Iterable[tuple[Task, float]]) -> float | None:
        """Seconds to the end; None while nothing has been measured.

        Args:
            remaining: tasks not begun.
            running: tasks under way, and the seconds that each has taken.
        """
        total = 0.0
        for task, spent in [*((task, 0.0) for task in remaining), *running]:
            mean = self.expected(task)
            if mean is None:
                return None
            total += max(0.0, mean - spent)
        return total / self._workers

    def expected(self, task: Task) -> float | None:
        """Seconds that a task will take; None while nothing like it has been measured."""
        for length in range(len(task.group), 0, -1):
            if seen := self._seconds.get(task.group[:length]):
                return sum(seen) / len(seen)
        return None
