"""Text for a terminal: foreign words made harmless, and aligned columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

GAP = "  "


def clean(text: object) -> str:
    """One line without control characters: titles, notes and messages come from other people's files."""
    words = " ".join(str(text).split())
    return "".join(char for char in words if unicodedata.category(char)[0] != "C")


def clean_lines(text: object) -> str:
    """The same for text of several lines; empty lines are dropped."""
    lines = (clean(line) for line in str(text).splitlines())
    return "\n".join(line for line in lines if line)


def value_text(value: object) -> str:
    """A parameter's value as a TOML file and a filter spell it."""
    return str(value).lower() if isinstance(value, bool) else clean(value)


def columns(rows: Iterable[Sequence[object]], *, indent: str = "") -> str:
    """Aligns rows of cells; the last column runs free."""
    texts = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*texts, strict=True)]
    lines = (
        GAP.join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join((indent + line).rstrip() for line in lines)


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
