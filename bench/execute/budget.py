"""``--budget 20m``: as much knowledge as a given time allows."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.api.errors import UsageError
from bench.execute.schedule import Task
from bench.matrix.cells import Cell, Variant

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_FORM = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(text: str) -> float:
    """Seconds of ``20m``, ``90s`` or ``1h30m``.

    Raises:
        UsageError: the text has another form, or means no time at all.
    """
    match = _FORM.fullmatch(text.strip()) if len(text) < 40 else None
    seconds = sum(
        float(number) * unit
        for number, unit in zip(match.groups() if match else (), _UNITS.values(), strict=False)
        if number
    )
    if not seconds:
        raise UsageError(f"budget {text!r}: write a time with its unit, like 20m, 90s or 1h30m")
    return seconds


def most_informative_first(chosen: Sequence[Cell], completed: Iterable[Cell]) -> list[Cell]:
    """Every attack against every defense once before any of them twice, and so on.

    Within a round the cells keep their order, so that those of one victim follow one another.

    Args:
        chosen: what is to be run.
        completed: what is there already; its pairs have had their turn.
    """
    turns = Counter(_pair(cell) for cell in completed)
    rounds: dict[str, int] = {}
    for cell in chosen:
        rounds[cell.id] = turns[_pair(cell)]
        turns[_pair(cell)] += 1
    return sorted(chosen, key=lambda cell: rounds[cell.id])


def _pair(cell: Cell) -> tuple[Variant, str, Variant]:
    return cell.attack, str(cell.adversary), cell.defense


@dataclass(frozen=True)
class Deadline:
    """When the time is up, and what can still be finished before.

    Attributes:
        at: on the clock of ``time.monotonic``.
        expected: seconds that a task will take; None if nobody knows.
    """

    at: float
    expected: Callable[[Task], float | None]

    def left(self) -> float:
        """Seconds that remain; negative when it is over."""
        return self.at - time.monotonic()

    def fits(self, task: Task) -> bool:
        """Whether a task that is begun now is expected to end in time."""
        return (self.expected(task) or 0.0) < self.left()
