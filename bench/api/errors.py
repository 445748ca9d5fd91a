"""Errors that are written for the person who reads them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CANDIDATES = 8
"""Similar names among which the nearest is looked for."""


class BenchError(Exception):
    """Base of every error that the project raises on purpose: its message is meant for the user."""


class UsageError(BenchError):
    """The user asked for something that does not exist or cannot be: exit code 2."""


class NetworkError(UsageError):
    """A network of the user's cannot be attacked as it is: the message says what to change in it."""


class PluginError(UsageError):
    """A plug-in folder is broken: bad card, code that does not import, wrong class."""


class DataMissing(BenchError):
    """The files of a data set are not on this machine: the message says how to get them."""


class IncompatibleError(BenchError):
    """A combination that is declared impossible; becomes ``n/a (reason)`` in the tables."""


def unknown(what: str, name: str, known: Iterable[str], *, where: str = "") -> UsageError:
    """Builds the error for a misspelt name, with the nearest known names.

    Args:
        what: the kind of thing, e.g. ``"attack"`` or ``"parameter of attack dlg"``.
        name: what the user wrote.
        known: the names that exist.
        where: file and field, if the name came from a file.
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(names) or 'none'}"
    prefix = f"{where}: " if where else ""
    return UsageError(f"{prefix}unknown {what} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was most likely meant; empty if none is like it.

    Of similar names the one wins that the fewest edits lead to, where two letters that have changed places
    are one edit, as is usual for typing errors; of equally near ones, the one with the same letters:
    ``dgl`` means ``dlg`` and not ``ggl``. Capitals do not count.
    """
    folded: dict[str, str] = {}
    for item in sorted(known):
        folded.setdefault(item.casefold(), item)
    typed = name.casefold()
    near = get_close_matches(typed, folded, n=_CANDIDATES)
    if not near:
        return ""
    return folded[min(near, key=lambda item: (_edits(typed, item), sorted(typed) != sorted(item)))]


def _edits(first: str, second: str) -> int:
    """Letters to insert, remove, replace or swap with their neighbour (optimal string alignment)."""
    before: list[int] = []
    last: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, last, row = last, row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other)))
            if i > 1 and j > 1 and (letter, other) == (second[j - 2], first[i - 2]):
                row[j] = min(row[j], before[j - 2] + 1)
    return row[-1]
