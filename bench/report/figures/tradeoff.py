"""What is recovered against what it costs, on the page and in the widths of a paper.

In all such figures more to the right or further up is worse for the defender.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bench.report.analysis.entries import Group, Row
from bench.report.figures.labels import label_points
from bench.report.figures.looks import Look, looks
from bench.report.findings import recovered
from bench.report.statistics import Interval

LOSS = ("loss", "loss_low", "loss_high")
SHARE = ("recovered", "recovered_low", "recovered_high")
_LINES = {"undefended": ("black", (0, (5, 2))), "blind guess": ("0.5", (0, (1.5, 1.5)))}
_BELOW, _WIDE = 2.0, 8.0
"""Points of accuracy that are shown below the smallest loss; a loss beyond which the axis is logarithmic."""


def style(size: float) -> dict[Any, Any]:
    """Settings of matplotlib for text of one size, in points."""
    return {
        "font.size": size, "axes.labelsize": size, "xtick.labelsize": size, "ytick.labelsize": size,
        "legend.fontsize": size,
        "axes.linewidth": 0.6, "lines.linewidth": 0.9, "lines.markersize": 4.0, "xtick.major.width": 0.6,
        "ytick.major.width": 0.6, "legend.frameon": False, "legend.handlelength": 1.8,
        "legend.columnspacing": 1.2, "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip


def points(rows: Sequence[Row]) -> pd.DataFrame:
    """The defended rows of a setting that were attacked: loss and recovered share, with their limits."""
    shown = [row for row in rows if row.recovery is not None and row.loss.seeds and not row.baseline]
    return pd.DataFrame([{**named(row), **_loss(row), **ends(SHARE, row.verdict.recovered)} for row in shown])


def named(row: Row) -> dict[str, object]:
    """The columns that say which row it is."""
    return {"defense": row.defense, "strength": row.strength}


def ends(names: Sequence[str], value: Interval) -> dict[str, float]:
    """In per cent."""
    return {name: 100 * end for name, end in zip(names, (value.mean, value.low, value.high), strict=True)}


def _loss(row: Row) -> dict[str, float]:
    """In points, with both limits by Student's t over the seeds."""
    mean, upper = row.loss.mean, row.loss.upper
    return dict(zip(LOSS, (mean, 2 * mean - upper, upper), strict=True))


def levels(group: Group) -> pd.DataFrame:
    """The dashed lines: the undefended victim, and the best of as many blind guesses, on the same images."""
    found = [
        {"defense": name, "recovered": 100 * value}
        for name, value in recovered.levels(group).items()
        if not math.isnan(value)
    ]
    return pd.DataFrame(found, columns=["defense", "recovered"])


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty one, in inches, in which nothing is cut."""
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02)
    figure = Figure(figsize=(width, height), dpi=72, layout=layout)
    return figure, figure.add_subplot()


def styles(group: Group) -> dict[str, Look]:
    """Colour and shape of each defense: those of all rows, so that a chosen row looks the same."""
    return looks(row.defense for row in group.rows if not row.baseline)


def draw(group: Group, points: pd.DataFrame, width: float) -> Figure:
    """What is recovered against what it costs, a line through the strengths of each defense."""
    figure, axes = new_figure(width, 2.6 if width < 5 else 3.0)
    handles = dashed(group, axes.axhline)
    for name, rows in points.groupby("defense", sort=False):
        look = styles(group)[str(name)]
        x, y = rows["loss"].to_numpy(), rows["recovered"].to_numpy()
        across, up = _arms(rows, LOSS), _arms(rows, SHARE)
        axes.errorbar(x, y, up, across, fmt="none", ecolor=look.colour, elinewidth=0.6, alpha=0.6)
        handles += axes.plot(
            x, y, color=look.colour, marker=look.shape, label=text(name), clip_on=False, zorder=3
        )
    _scale(axes, points)
    axes.set_xlabel("accuracy lost, points (← better)")
    axes.set_ylabel(f"{what(group)} (← better)")
    axes.set_ylim(-4, 104)
    legend(figure, handles, width)
    known = points[points["strength"].notna()]
    colours = [styles(group)[name].colour for name in known["defense"]]
    marks = known[["loss", "recovered"]].to_numpy()
    label_points(axes, marks, [f"{value:g}" for value in known["strength"]], colours)
    return figure


def _scale(axes: Axes, points: pd.DataFrame) -> None:
    """From at most two points below every loss: lower ends of wider intervals leave the frame."""
    lowest = points["loss_low"].fillna(points["loss"]).min()
    left = min(max(lowest, points["loss"].min() - _BELOW), 0.0)
    if points["loss"].max() > _WIDE:
        axes.set_xscale("symlog", linthresh=2, linscale=0.6)
        axes.set_xlim(left=left - 0.2)
        low, high = axes.get_xlim()
        ticks = [tick for tick in (-2, -1, 0, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axes.minorticks_off()
    else:
        axes.set_xlim(left=left - 0.04 * (axes.get_xlim()[1] - left))


def what(group: Group) -> str:
    """What the axis of recovered shares says."""
    return "classes recovered, net, %" if group.terms.net else "images recovered, %"


def text(name: object) -> str:
    """Untrusted text without the dollar signs that would start a formula."""
    return str(name).replace("$", r"\$")


def _arms(rows: pd.DataFrame, names: Sequence[str]) -> list[list[float]]:
    """How far an interval reaches to both sides; nowhere if there is none."""
    mean, low, high = (rows[name] for name in names)
    return [(mean - low).fillna(0).clip(0).tolist(), (high - mean).fillna(0).clip(0).tolist()]


def dashed(group: Group, line: Callable[..., Line2D]) -> list[Line2D]:
    """Draws the levels; what the legend shows of them."""
    found = []
    for name, value in levels(group).itertuples(index=False):
        colour, dashes = _LINES[name]
        found.append(line(value, color=colour, linestyle=dashes, linewidth=0.8, zorder=1, label=name))
    return found


def legend(figure: Figure, handles: Sequence[Line2D], width: float) -> None:
    """Below the axes, in as many columns as fit."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    across = max(1, min(len(handles), int(width / (0.45 + 0.055 * longest))))
    figure.legend(handles=[*handles], loc="outside lower center", ncols=across)
