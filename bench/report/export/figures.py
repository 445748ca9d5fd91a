"""Figures of a setting in the two widths of a paper, and the table of what is drawn.

In all of them more to the right or further up is worse for the defender.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bench.report.analysis.entries import Group, Row
from bench.report.export.choice import POINTS, SIZES, Setting
from bench.report.export.labels import label_points
from bench.report.statistics import NOTHING, Interval
from bench.report.writers.table import csv

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without the yellow, which is too light for a thin line on white."""
_SHAPES = "os^Dv<>p"
_STYLE: dict[Any, Any] = {
    "font.size": POINTS, "axes.labelsize": POINTS, "xtick.labelsize": POINTS, "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS, "font.family": ["STIXGeneral", "DejaVu Sans"], "mathtext.fontset": "stix",
    "axes.linewidth": 0.6, "lines.linewidth": 0.9, "lines.markersize": 4.0, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "legend.frameon": False, "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2, "axes.spines.top": False, "axes.spines.right": False,
    "pdf.fonttype": 42, "svg.fonttype": "path",
}  # fmt: skip
_PLAIN = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
_LOSS = ("loss", "loss_low", "loss_high")
_SHARE = ("recovered", "recovered_low", "recovered_high")
_NAIVE = ("naive", "naive_low", "naive_high")
_LINES = {"undefended": ("black", (0, (5, 2))), "blind guess": ("0.5", (0, (1.5, 1.5)))}
_BELOW, _WIDE = 2.0, 8.0
"""Points of accuracy that are shown below the smallest loss; a loss beyond which the axis is logarithmic."""


def draw(setting: Setting) -> dict[str, bytes]:
    """Files by name: each figure as PDF and SVG in each size, and its CSV."""
    files: dict[str, bytes] = {}
    kinds: dict[str, tuple[pd.DataFrame, Callable[[Setting, pd.DataFrame, float], Figure]]] = {
        "tradeoff": (_tradeoff_points(setting), _tradeoff),
        "adaptive": (_adaptive_points(setting), _adaptive),
    }
    for kind, (points, figure) in kinds.items():
        if points.empty:
            continue
        stem = f"{kind}-{setting.name}"
        files[f"{stem}.csv"] = csv(pd.concat([points, _levels(setting.group)], ignore_index=True)).encode()
        for size, width in SIZES.items():
            with matplotlib.rc_context({**_STYLE, "svg.hashsalt": stem}):
                drawn = figure(setting, points, width)
                for suffix, metadata in _PLAIN.items():
                    buffer = io.BytesIO()
                    drawn.savefig(buffer, format=suffix, metadata=metadata)
                    files[f"{stem}-{size}.{suffix}"] = buffer.getvalue()
    return files


def _tradeoff_points(setting: Setting) -> pd.DataFrame:
    rows = [row for row in setting.rows if row.recovery is not None and row.loss.seeds and not row.baseline]
    return pd.DataFrame(
        [{**_named(row), **_loss(row), **_ends(_SHARE, row.verdict.recovered)} for row in rows]
    )


def _adaptive_points(setting: Setting) -> pd.DataFrame:
    rows = [row for row in setting.rows if row.recovery is not None and not row.baseline]
    shares = [(_ends(_NAIVE, row.verdict.naive), _ends(_SHARE, row.verdict.recovered)) for row in rows]
    return pd.DataFrame(
        [{**_named(row), **naive, **all_} for row, (naive, all_) in zip(rows, shares, strict=True)]
    )


def _named(row: Row) -> dict[str, object]:
    return {"defense": row.defense, "strength": row.strength}


def _ends(names: Sequence[str], value: Interval) -> dict[str, float]:
    """In per cent."""
    return {name: 100 * end for name, end in zip(names, (value.mean, value.low, value.high), strict=True)}


def _loss(row: Row) -> dict[str, float]:
    """In points, with both limits by Student's t over the seeds."""
    mean, upper = row.loss.mean, row.loss.upper
    return dict(zip(_LOSS, (mean, 2 * mean - upper, upper), strict=True))


def _levels(group: Group) -> pd.DataFrame:
    """The dashed lines: the undefended victim, and the best of as many blind guesses, on the same images."""
    base = group.baseline
    recovered = base.verdict.recovered if base else NOTHING
    blind = 0.0 if group.terms.net else recovered.mean - group.lead.mean
    levels = {"undefended": 100 * recovered.mean, "blind guess": 100 * blind}
    found = [{"defense": name, "recovered": value} for name, value in levels.items() if not math.isnan(value)]
    return pd.DataFrame(found, columns=["defense", "recovered"])


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02)
    figure = Figure(figsize=(width, height), dpi=72, layout=layout)
    return figure, figure.add_subplot()


def _styles(setting: Setting) -> dict[str, tuple[str, str]]:
    """Colour and shape of each defense: those of all rows, so that a chosen row looks the same."""
    names = dict.fromkeys(row.defense for row in setting.group.rows if not row.baseline)
    return {
        name: (_COLOURS[number % len(_COLOURS)], _SHAPES[number % len(_SHAPES)])
        for number, name in enumerate(names)
    }


def _tradeoff(setting: Setting, points: pd.DataFrame, width: float) -> Figure:
    """What is recovered against what it costs, a line through the strengths of each defense."""
    figure, axes = _figure(width, 2.6 if width < 5 else 3.0)
    handles = _dashed(setting.group, axes.axhline)
    for name, rows in points.groupby("defense", sort=False):
        colour, shape = _styles(setting)[str(name)]
        x, y = rows["loss"].to_numpy(), rows["recovered"].to_numpy()
        across, up = _arms(rows, _LOSS), _arms(rows, _SHARE)
        axes.errorbar(x, y, up, across, fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.6)
        handles += axes.plot(x, y, color=colour, marker=shape, label=_text(name), clip_on=False, zorder=3)
    _scale(axes, points)
    axes.set_xlabel("accuracy lost, points (← better)")
    axes.set_ylabel(f"{_what(setting.group)} (← better)")
    axes.set_ylim(-4, 104)
    _legend(figure, handles, width)
    known = points[points["strength"].notna()]
    colours = [_styles(setting)[name][0] for name in known["defense"]]
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


def _adaptive(setting: Setting, points: pd.DataFrame, width: float) -> Figure:
    """What attackers recover who ignore the defense, and all together: a dumbbell for each row."""
    figure, axes = _figure(width, 0.85 + 0.2 * len(points))
    handles = _dashed(setting.group, axes.axvline)
    for place, row in enumerate(points.to_dict("records")):
        colour, shape = _styles(setting)[row["defense"]]
        axes.plot([row["naive"], row["recovered"]], [place - 0.14, place + 0.14], color="0.8", linewidth=2)
        for names, shift, fill in ((_NAIVE, -0.14, "white"), (_SHARE, 0.14, colour)):
            mean, low, high = (row[name] for name in names)
            axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=0.6)
            axes.plot(mean, place + shift, shape, color=colour, markerfacecolor=fill, clip_on=False, zorder=3)
    heads = [row.name for row in setting.rows if row.recovery is not None and not row.baseline]
    axes.set_yticks(range(len(heads)), [_text(name) for name in heads])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(heads) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"{_what(setting.group)} (← better)")
    for label, fill in (("naive attackers", "white"), ("all attackers", "0.3")):
        handles.append(
            Line2D([], [], color="0.3", marker="o", linestyle="", markerfacecolor=fill, label=label)
        )
    _legend(figure, handles, width)
    return figure


def _what(group: Group) -> str:
    return "classes recovered, net, %" if group.terms.net else "images recovered, %"


def _text(name: object) -> str:
    """Untrusted text without the dollar signs that would start a formula."""
    return str(name).replace("$", r"\$")


def _arms(rows: pd.DataFrame, names: Sequence[str]) -> list[list[float]]:
    """How far an interval reaches to both sides; nowhere if there is none."""
    mean, low, high = (rows[name] for name in names)
    return [(mean - low).fillna(0).clip(0).tolist(), (high - mean).fillna(0).clip(0).tolist()]


def _dashed(group: Group, line: Callable[..., Line2D]) -> list[Line2D]:
    """Draws the levels; what the legend shows of them."""
    found = []
    for name, value in _levels(group).itertuples(index=False):
        colour, dashes = _LINES[name]
        found.append(line(value, color=colour, linestyle=dashes, linewidth=0.8, zorder=1, label=name))
    return found


def _legend(figure: Figure, handles: Sequence[Line2D], width: float) -> None:
    longest = max(len(str(handle.get_label())) for handle in handles)
    across = max(1, min(len(handles), int(width / (0.45 + 0.055 * longest))))
    figure.legend(handles=[*handles], loc="outside lower center", ncols=across)
