"""Figures of a setting in the two widths of a paper, and the table of what is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.analysis.entries import Group
from bench.report.export.choice import POINTS, SIZES, Setting
from bench.report.figures import tradeoff
from bench.report.figures.tradeoff import (
    SHARE,
    dashed,
    ends,
    legend,
    levels,
    named,
    new_figure,
    styles,
    text,
    what,
)
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
_NAIVE = ("naive", "naive_low", "naive_high")


def draw(setting: Setting) -> dict[str, bytes]:
    """Files by name: each figure as PDF and SVG in each size, and its CSV."""
    files: dict[str, bytes] = {}
    kinds: dict[str, tuple[pd.DataFrame, Callable[..., Figure]]] = {
        "tradeoff": (tradeoff.points(setting.rows), tradeoff.draw),
        "adaptive": (_adaptive_points(setting), _adaptive),
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


def _adaptive_points(setting: Setting) -> pd.DataFrame:
    rows = [row for row in setting.rows if row.recovery is not None and not row.baseline]
    shares = [(ends(_NAIVE, row.verdict.naive), ends(SHARE, row.verdict.recovered)) for row in rows]
    return pd.DataFrame(
        [{**named(row), **naive, **all_} for row, (naive, all_) in zip(rows, shares, strict=True)]
    )


def _adaptive(group: Group, points: pd.DataFrame, width: float) -> Figure:
    """What attackers recover who ignore the defense, and all together: a dumbbell for each row."""
    figure, axes = new_figure(width, 0.85 + 0.2 * len(points))
    handles = dashed(group, axes.axvline)
    for place, row in enumerate(points.to_dict("records")):
        colour, shape = styles(group)[row["defense"]]
        axes.plot([row["naive"], row["recovered"]], [place - 0.14, place + 0.14], color="0.8", linewidth=2)
        for names, shift, fill in ((_NAIVE, -0.14, "white"), (SHARE, 0.14, colour)):
            mean, low, high = (row[name] for name in names)
            axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=0.6)
            axes.plot(mean, place + shift, shape, color=colour, markerfacecolor=fill, clip_on=False, zorder=3)
    pairs = points[["defense", "strength"]].itertuples(index=False)
    heads = [name if math.isnan(strength) else f"{name} = {strength:g}" for name, strength in pairs]
    axes.set_yticks(range(len(heads)), [text(name) for name in heads])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(heads) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"{what(group)} (← better)")
    for label, fill in (("naive attackers", "white"), ("all attackers", "0.3")):
        handles.append(
            Line2D([], [], color="0.3", marker="o", linestyle="", markerfacecolor=fill, label=label)
        )
    legend(figure, handles, width)
    return figure
