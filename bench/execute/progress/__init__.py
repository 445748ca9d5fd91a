"""What a run shows of itself, and how long it will still take."""

from __future__ import annotations

import sys

from bench.api.errors import UsageError
from bench.execute.progress.display import Display, Json, Plain


def display(name: str) -> Display:
    """The display called ``rich``, ``plain`` or ``json``; ``auto`` is rich on a terminal, else plain.

    Raises:
        UsageError: there is no such display.
    """
    if name == "auto":
        name = "rich" if sys.stdout.isatty() else "plain"
    if name == "rich":
        from bench.execute.progress.bar import Bar

        return Bar()
    if name not in ("plain", "json"):
        raise UsageError(f"display {name!r}: write auto, rich, plain or json")
    return Plain() if name == "plain" else Json()
