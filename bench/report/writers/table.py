"""Tables as records, title to cell: tabulate writes Markdown and LaTeX, pandas CSV; and values as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pandas as pd
from tabulate import DataRow, TableFormat, tabulate

from bench.report.statistics import Interval
from bench.report.tallies import Spread

SHARES = ("recovered", "union", "drop", "naive", "identifiable")
"""What a verdict stands on."""
_DECIMALS = 6
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def markdown_table(records: Iterable[Mapping[str, object]], *, text: int = 1) -> list[str]:
    """The lines of a Markdown table of escaped cells; none without a record.

    Args:
        records: titles and cells, the same titles in each.
        text: how many columns are words, aligned to the left; those after them are numbers.
    """
    rows = list(records)
    head = [*rows[0]] if rows else []
    return markdown_lines(head, [[row[title] for title in head] for row in rows], text=text) if rows else []


def markdown_lines(head: Sequence[str], rows: Iterable[Iterable[object]], *, text: int = 1) -> list[str]:
    """The same from a head, whose titles may be equal, and rows."""
    rule = ["---" if i < text else "--:" for i in range(len(head))]
    return _lines([head, rule, *rows], DataRow("| ", " | ", " |"))


def latex_lines(rows: Iterable[Iterable[object]]) -> list[str]:
    r"""Rows of a LaTeX table of escaped cells, each ended by ``\\``."""
    return _lines(rows, DataRow("", " & ", r" \\"))


def _lines(rows: Iterable[Iterable[object]], layout: DataRow) -> list[str]:
    """Cells as they are: columns that are filled up to one width would double the size of the wide tables."""
    plain = TableFormat(None, None, None, None, layout, layout, 0, None)
    return tabulate(rows, tablefmt=plain, disable_numparse=True, stralign=None).split("\n")


def csv(frame: pd.DataFrame) -> str:
    """Six decimals at most, empty cells for what is missing; no text that a spreadsheet would execute."""
    numbers = frame.select_dtypes("float").columns
    shown = {name: frame[name].round(_DECIMALS) for name in numbers}
    shown |= {name: frame[name].map(_inert) for name in frame.select_dtypes(exclude="number").columns}
    return str(frame.assign(**shown).to_csv(index=False, lineterminator="\n"))


def _inert(value: object) -> object:
    """A text behind an apostrophe where it begins like a formula: names come from other people's records."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def ends(name: str, value: Interval | Spread) -> dict[str, object]:
    """The three columns of a number: its mean, and both ends."""
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}


def json_text(value: object) -> str:
    """A document: what is missing is null, and an interval an object."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS) + 0.0 if math.isfinite(value) else None
    if isinstance(value, Interval):
        if math.isnan(value.mean):
            return None
        counts = {"releases": value.n_clusters, "images": value.n_images, "missing": value.n_missing}
        return {name: _plain(getattr(value, name)) for name in ("mean", "low", "high")} | counts
    if isinstance(value, Spread):
        return {name: _plain(getattr(value, name)) for name in ("mean", "low", "high", "upper")}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
