"""How a run shows itself: a bar for people, lines for logs, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Protocol

from bench.text import clean, clean_lines

_PLAIN_INTERVAL = 2.0
_TRAINING_INTERVAL = 15.0
"""Seconds without a line after which a log says how far the trainings have come."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        total: cells that this run has to measure; what is n/a is no work.
        done: of them, those that are completed, failed ones included.
        failed: of them, those without a result.
        running: titles of the tasks under way.
        rounds: how far the training of each of them has come, as (round, rounds); None where none is known.
        eta: seconds to the end; None while unknown.
    """

    total: int
    done: int = 0
    failed: int = 0
    running: tuple[str, ...] = ()
    rounds: tuple[tuple[int, int] | None, ...] = ()
    eta: float | None = None


def trainings(progress: Progress) -> list[str]:
    """The tasks under way, with their rounds where a training says them."""
    found = []
    for title, rounds in zip_longest(progress.running, progress.rounds):
        place = f": round {rounds[0]} of {rounds[1]} ({rounds[0] / rounds[1]:.0%})" if rounds else ""
        found.append(f"{clean(title)}{place}")
    return found


class Display(Protocol):
    """Shows a run; called from one thread."""

    def start(self, counts: Mapping[str, int], progress: Progress) -> None:
        """The run begins; ``counts`` are the states of all cells of the matrix."""

    def update(self, progress: Progress) -> None:
        """About twice a second."""

    def finished(self, title: str, status: str, reason: str, seconds: float, progress: Progress) -> None:
        """A cell has its record."""

    def message(self, text: str) -> None:
        """Something the user should read."""

    def finish(self, counts: Mapping[str, int], seconds: float) -> None:
        """The run is over; ``counts`` are the states of all cells now."""

    def close(self) -> None:
        """Gives the terminal back, also after an error."""


def duration(seconds: float | None) -> str:
    """``1:02:03``, ``2:03`` or ``?``."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(counts: Mapping[str, int]) -> str:
    """``3 done, 1 failed``; what there is none of is left out."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "nothing"


class Plain:
    """Lines for logs: every failure, long trainings, and at most one other cell in two seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._trained = time.monotonic()

    def start(self, counts: Mapping[str, int], progress: Progress) -> None:
        """Says what there is and what has to be run."""
        self._print(f"{counted(counts)}; {progress.total} to run")

    def update(self, progress: Progress) -> None:
        """A line for every training, unless there was a line just now: a log is not a screen."""
        now = time.monotonic()
        if not any(progress.rounds) or now - max(self._last, self._trained) < _TRAINING_INTERVAL:
            return
        self._trained = now
        for text, rounds in zip(trainings(progress), progress.rounds, strict=True):
            if rounds:
                self._print(
                    f"[{progress.done}/{progress.total}] training {text}, ETA {duration(progress.eta)}"
                )

    def finished(self, title: str, status: str, reason: str, seconds: float, progress: Progress) -> None:
        """One line, unless there was one just now."""
        now = time.monotonic()
        problem = status not in ("done", "incompatible")
        more = progress.done < progress.total or status == "incompatible"
        if not problem and now - self._last < _PLAIN_INTERVAL and more:
            return
        self._last = now
        place = "n/a" if status == "incompatible" else f"[{progress.done}/{progress.total}] {status:7}"
        why = f": {clean(reason)}" if reason else ""
        self._print(f"{place} {clean(title)} ({seconds:.1f} s, ETA {duration(progress.eta)}){why}")

    def message(self, text: str) -> None:
        """To stderr, so that it is not lost in the log."""
        print(clean_lines(text), file=sys.stderr, flush=True)

    def finish(self, counts: Mapping[str, int], seconds: float) -> None:
        """The summary line."""
        self._print(f"{counted(counts)} after {duration(seconds)}")

    def close(self) -> None:
        """Nothing to give back."""

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)


class Json:
    """One JSON object per event on stdout, with its name under ``event``."""

    def start(self, counts: Mapping[str, int], progress: Progress) -> None:
        """Event ``start``."""
        self._print("start", counts=dict(counts), **asdict(progress))

    def update(self, progress: Progress) -> None:
        """Nothing: every finished cell tells the progress."""

    def finished(self, title: str, status: str, reason: str, seconds: float, progress: Progress) -> None:
        """Event ``cell``."""
        cell = {"cell": title, "status": status, "reason": reason, "seconds": round(seconds, 3)}
        self._print("cell", **cell, **asdict(progress))

    def message(self, text: str) -> None:
        """Event ``message``."""
        self._print("message", text=text)

    def finish(self, counts: Mapping[str, int], seconds: float) -> None:
        """Event ``finish``."""
        self._print("finish", counts=dict(counts), seconds=round(seconds, 3))

    def close(self) -> None:
        """Nothing to give back."""

    @staticmethod
    def _print(event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), flush=True)
