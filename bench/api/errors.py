"""Errors that are written for the person who reads them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    prefix = f"{where}: " if where else ""
    return UsageError(f"{prefix}unknown {what} {name!r}; {hint}")
