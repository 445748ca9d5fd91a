"""A checklist: what was promised, what was found, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How one promise stands."""

    OK = "ok"
    BROKEN = "broken"
    NOTE = "note"
    SKIPPED = "skipped"


class Finding(Exception):
    """Ends a check with something else than success.

    Attributes:
        message: what was seen.
        fix: what to do about it.
    """

    verdict = Verdict.BROKEN

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class Broken(Finding):
    """A promise does not hold."""


class Note(Finding):
    """Nothing is wrong, but something should be said."""

    verdict = Verdict.NOTE


class Skipped(Finding):
    """The promise does not apply, or cannot be tried here."""

    verdict = Verdict.SKIPPED


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the checklist.

    Attributes:
        promise: a short name, the same in every run.
        means: what the promise says.
        verdict: how it stands.
        message: what was found.
        fix: what to do; empty unless something is broken or noted.
        seconds: how long it took.
    """

    promise: str
    means: str
    verdict: Verdict
    message: str
    fix: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """All promises of one plug-in."""

    kind: str
    name: str
    folder: str
    items: tuple[Item, ...]

    @property
    def sound(self) -> bool:
        """No promise is broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[Item, ...]:
        """The promises that do not hold."""
        return tuple(item for item in self.items if item.verdict is Verdict.BROKEN)

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return sum(item.seconds for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Plain data for other programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "folder": self.folder,
            "sound": self.sound,
            "seconds": round(self.seconds, 2),
            "items": [{**asdict(item), "seconds": round(item.seconds, 3)} for item in self.items],
        }

    def to_text(self) -> str:
        """Lines for a person."""
        width = max((len(item.promise) for item in self.items), default=0)
        lines = [f"{self.kind} {self.name}  ({self.folder})"]
        for item in self.items:
            mark = "BROKEN" if item.verdict is Verdict.BROKEN else item.verdict.value
            first, *more = item.message.splitlines() or [""]
            lines.append(f"  {mark:<7}  {item.promise:<{width}}  {first}")
            lines += [f"  {'':<7}  {'':<{width}}  {line}" for line in more]
            if item.fix:
                lines.append(f"  {'':<7}  {'':<{width}}  fix: {item.fix}")
        counts = Counter(item.verdict for item in self.items)
        said = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
        return "\n".join([*lines, f"{', '.join(said)} ({self.seconds:.1f} s)"])
