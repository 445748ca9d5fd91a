"""Text for a terminal: foreign words made harmless, and aligned columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from bench.text import clean, clean_lines

__all__ = ["clean", "clean_lines", "columns", "value_text"]
GAP = "  "


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
