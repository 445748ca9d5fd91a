"""What of a results folder is exported: settings, rows and columns, by their names in the tables."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.api.errors import UsageError, unknown
from bench.report.analysis.entries import Group, Row
from bench.report.export.columns import KEYS
from bench.report.figures.figures import slug

SIZES = {"column": 3.25, "text": 6.75}
"""Widths in inches of a column and of the text of a two-column page."""
POINTS = 8
"""Size of the letters."""
_COMMA = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Choice:
    """Names, as somebody types them; what is empty is not restricted.

    Attributes:
        settings: file names, with ``*`` and ``?``: ``gradients-mnist5k-lenet-initial-1``, ``gradients-*``.
        rows: defenses in the order of the tables: ``noise`` (all strengths), ``noise=0.01``.
        columns: of :data:`bench.report.export.columns.KEYS`, in their order.

    Raises:
        UsageError: there is no such column.
    """

    settings: Sequence[str] = ()
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Columns are known before anything is read."""
        for name in self.columns:
            if name not in KEYS:
                raise unknown("column", name, KEYS)


@dataclass(frozen=True)
class Setting:
    """One setting and its chosen rows.

    Attributes:
        group: with all its rows, the undefended one among them.
        rows: at least one, in the order of the tables.
    """

    group: Group
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Of its files."""
        return slug(self.group)


def split(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists joined by commas, but not at the commas within ``noise[a=1,b=2]``."""
    return tuple(word.strip() for text in texts for word in _COMMA.split(text) if word.strip())


def select(groups: Sequence[Group], choice: Choice) -> tuple[Setting, ...]:
    """The chosen settings with their chosen rows; those that have none of the rows are left out.

    Raises:
        UsageError: no setting or no row has a chosen name, or no cell is done yet.
    """
    named = {slug(group): group for group in groups if any(row.worst for row in group.rows)}
    if not named:
        raise UsageError("no cell is done yet: there is nothing to export")
    for pattern in choice.settings:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise unknown("setting", pattern, named)
    wanted = choice.settings or ["*"]
    found = [group for name, group in named.items() if any(fnmatchcase(name, one) for one in wanted)]
    known = {name for group in found for row in group.rows for name in _names(row)}
    for name in choice.rows:
        if _tight(name) not in known:
            raise unknown("row", name, known)
    chosen = (Setting(group, _rows(group, choice.rows)) for group in found)
    return tuple(setting for setting in chosen if setting.rows)


def _rows(group: Group, names: Sequence[str]) -> tuple[Row, ...]:
    if not names:
        return group.rows
    found = {row.number: row for name in names for row in group.rows if _tight(name) in _names(row)}
    return tuple(found.values())


def _names(row: Row) -> tuple[str, ...]:
    strength = () if math.isnan(row.strength) else (_tight(row.name),)
    return (row.defense, *strength)


def _tight(name: str) -> str:
    return name.replace(" = ", "=")
