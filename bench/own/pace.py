"""How long attacks may take, and a sign of life while they run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Tell = Callable[[str], None]
FIRST, EACH = 10.0, 60.0
"""Seconds after which an attack says that it still runs, first and from then on."""
SEARCH = 50
"""Evaluations from which on those, and not what is set up once, decide how long an attack takes."""


@contextmanager
def alive(tell: Tell, name: str) -> Iterator[None]:
    """Says from time to time that something still runs."""
    ended, begun = threading.Event(), time.perf_counter()

    def say() -> None:
        wait = FIRST
        while not ended.wait(wait):
            tell(f"{name}: {time.perf_counter() - begun:.0f} s so far")
            wait = EACH

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Clock:
    """Shares a limited time among attacks, by evaluations.

    Attributes:
        minutes: for all attacks together; None: as long as they take.
        evaluate: one evaluation of all releases; timed when it is first asked for.
    """

    minutes: float | None
    evaluate: Callable[[], object] | None
    _begun: float = field(default_factory=time.perf_counter)
    _seconds: float | None = None

    def budget(self, wanted: int, attacks_left: int) -> int:
        """Evaluations that the next attack may spend: an equal share of the time that is left."""
        if (seconds := self._timed()) is None:
            return wanted
        return max(1, min(wanted, math.floor(self._left() / attacks_left / seconds)))

    def too_long(self, evaluations: float) -> str:
        """Why something is left out that takes so many evaluations; empty if the time suffices."""
        if (seconds := self._timed()) is None or evaluations * seconds <= self._left():
            return ""
        return (
            f"it takes about {evaluations * seconds / 60:.0f} minutes, more than is left: give more minutes="
        )

    def _left(self) -> float:
        return self._begun + 60 * (self.minutes or 0) - time.perf_counter()

    def _timed(self) -> float | None:
        """Seconds of an evaluation; None if nothing is limited."""
        if self.minutes is None or self.evaluate is None:
            return None
        if self._seconds is None:
            self.evaluate()  # what is set up once is not to be counted
            start = time.perf_counter()
            self.evaluate()
            self._seconds = time.perf_counter() - start
        return max(self._seconds, 1e-9)

    def spent(self, evaluations: int, seconds: float) -> None:
        """What an attack really took: searches that cost more make the next ones shorter."""
        if self._seconds is not None and evaluations >= SEARCH:
            self._seconds = max(self._seconds, seconds / evaluations)
