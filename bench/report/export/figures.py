"""Figures of a setting in the two widths of a paper, and the table of what is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from bench.report.export.choice import POINTS, SIZES, Setting
from bench.report.figures import adaptive, tradeoff
from bench.report.figures.tradeoff import levels
from bench.report.writers.table import csv

_STYLE: dict[Any, Any] = {
    **tradeoff.style(POINTS),
    "font.family": ["STIXGeneral", "DejaVu Sans"], "mathtext.fontset": "stix",
    "pdf.fonttype": 42, "svg.fonttype": "path",
}  # fmt: skip
_PLAIN = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def draw(setting: Setting) -> dict[str, bytes]:
    """Files by name: each figure as PDF and SVG in each size, and its CSV."""
    files: dict[str, bytes] = {}
    kinds: dict[str, tuple[pd.DataFrame, Callable[..., Figure]]] = {
        "tradeoff": (tradeoff.points(setting.rows), tradeoff.draw),
        "adaptive": (adaptive.points(setting.rows), adaptive.draw),
    }
    for kind, (points, figure) in kinds.items():
        if points.empty:
            continue
        stem = f"{kind}-{setting.name}"
        files[f"{stem}.csv"] = csv(pd.concat([points, levels(setting.group)], ignore_index=True)).encode()
        for size, width in SIZES.items():
            with matplotlib.rc_context({**_STYLE, "svg.hashsalt": stem}):
                drawn = figure(setting.group, points, width)
                for suffix, metadata in _PLAIN.items():
                    buffer = io.BytesIO()
                    drawn.savefig(buffer, format=suffix, metadata=metadata)
                    files[f"{stem}-{size}.{suffix}"] = buffer.getvalue()
    return files
