"""A sink for work that draws nothing: it keeps the results, and says now and then how far the work is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.execute.schedule import Task
from bench.records.outcome import Failure, Outcome

Say = Callable[[str], None]


@dataclass
class Collect:
    """Keeps what comes.

    Attributes:
        say: is told how far the work is.
        what: is done with the cells: ``scored again``.
        total: how many cells there are.
        every: seconds between two messages, at least.
        clock: of these.
        outcomes: results by id of the cell.
    """

    say: Say
    what: str
    total: int
    every: float = 10.0
    clock: Callable[[], float] = time.monotonic
    outcomes: dict[str, Outcome | Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The first message may come when some time has passed."""
        self._last = self.clock()

    def begun(self, task: Task) -> None:
        """Nothing to keep yet."""

    def trained(self, task: Task, turn: int, rounds: int) -> None:
        """Nothing to say of a single task."""

    def tick(self, remaining: list[Task]) -> None:
        """Says how far the work is, if it has not for a while."""
        now = self.clock()
        if now - self._last >= self.every:
            self._last = now
            self.say(f"{self.what}: {len(self.outcomes)} of {self.total} cells")

    def ended(self, task: Task, result: Outcome | Failure | None, seconds: float) -> None:
        """Keeps the result of a cell."""
        if result is not None and task.kind == "cell":
            self.outcomes[task.cell.id] = result

    def lost(self, task: Task, failure: Failure) -> None:
        """Keeps why a cell has no result."""
        self.outcomes[task.cell.id] = failure

    def note(self, text: str) -> None:
        """Passes it on."""
        self.say(text)
