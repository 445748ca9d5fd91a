"""The figures as SVG: of each group privacy against utility, heat map, leakage against effort and signal.

Of groups that differ in one axis of their federation: what was recovered along it.
The same records give the same bytes: no date, no random names.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.channels.shared.terms import leakage, whole_range
from bench.records.files import write_atomic
from bench.report.analysis.entries import Group, Row
from bench.report.figures import federation
from bench.report.figures.signal import Cloud, clouds
from bench.report.findings.effort import Curve, curves
from bench.report.frames import Results

_MARKERS = "osD^vP*Xhp<>d8H"
_KINDS = ("leakage", "heat", "budget", "signal", "axis")


def slug(group: Group) -> str:
    """A file name for a group; labels that need changing keep apart by a digest."""
    return _slug(group.key)


def _slug(key: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", key).strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    return plain if plain == key.replace("|", "-") else f"{plain}-{digest}"


def write(folder: Path, results: Results, groups: tuple[Group, ...]) -> None:
    """Draws ``leakage-``, ``heat-``, ``budget-``, ``signal-<group>.svg``, ``axis-*.svg`` that show anything.

    Figures of groups that are gone are removed.
    """
    wanted: dict[str, bytes] = {}
    for group in groups:
        if any(map(_shown, group.rows)):
            wanted[f"leakage-{slug(group)}.svg"] = _save(group.key, _leakage(group))
        if any(entry.done for row in group.rows for entry in row.attacks):
            wanted[f"heat-{slug(group)}.svg"] = _save(group.key, _heat(group))
        if drawn := curves(results, group):
            wanted[f"budget-{slug(group)}.svg"] = _save(group.key, _budget(group, drawn))
        if found := clouds(results, group):
            wanted[f"signal-{slug(group)}.svg"] = _save(group.key, _signal(group, found))
    for curve in federation.curves(groups):
        key = f"{curve.axis}|{curve.place}"
        wanted[f"axis-{_slug(key)}.svg"] = _save(key, federation.draw(curve, _MARKERS, _plain))
    for old in sorted(path for kind in _KINDS for path in folder.glob(f"{kind}-*.svg")):
        if old.name not in wanted:
            old.unlink()
    for name, content in wanted.items():
        write_atomic(folder / name, content)


def _shown(row: Row) -> bool:
    return row.worst is not None and row.utility.seeds > 0


def _save(key: str, figure: Figure) -> bytes:
    with matplotlib.rc_context({"svg.hashsalt": key, "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Untrusted text without the dollar signs that would start a formula."""
    return text.replace("$", r"\$")


def _leakage(group: Group) -> Figure:
    """Worst-case leakage against accuracy: one curve per defense over its strengths, with 95 % bands."""
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.6, 0.78))
    shown = [row for row in group.rows if _shown(row)]
    for number, (label, rows) in enumerate(groupby(shown, key=lambda row: row.defense)):
        _curve(axes, list(rows), group, _plain(label), number)
    axes.set_xlabel("utility: accuracy of the victim, %")
    axes.set_ylabel(f"worst-case leakage: {group.terms.leaked(group.rank)}")
    for end in whole_range(group.rank):
        axes.axhline(end, color="none")
    axes.set_title(_plain(group.title), fontsize=9)
    axes.grid(alpha=0.3)
    axes.text(0.03, 0.04, "ringed: Pareto-optimal", transform=axes.transAxes, fontsize=8)
    axes.annotate("better", (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=8, style="italic")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure


def _curve(axes: Axes, rows: list[Row], group: Group, label: str, number: int) -> None:
    """One defense over its strengths."""
    x, y, low, high = [], [], [], []
    for row in rows:
        assert row.worst is not None
        value = row.worst.scores[group.rank]
        bounds = (value.low, value.high) if value.n_clusters > 1 else (value.mean, value.mean)
        leak, *ends = (leakage(group.rank, level) for level in (value.mean, *bounds))
        x.append(100 * row.utility.mean)
        y.append(leak)
        low.append(min(leak, *ends))
        high.append(max(leak, *ends))
    colour = "black" if rows[0].baseline else f"C{number % 10}"
    marker = _MARKERS[number % len(_MARKERS)]
    errors = np.abs([np.subtract(y, low), np.subtract(high, y)])
    axes.errorbar(
        x, y, yerr=errors, marker=marker, color=colour, linewidth=1, markersize=5, capsize=2, label=label
    )
    ringed = [(place, leak) for place, leak, row in zip(x, y, rows, strict=True) if row.pareto]
    if ringed:
        axes.plot(*zip(*ringed, strict=True), "o", markersize=10, fillstyle="none", color="black")
    if len(rows) > 1:
        # In the order of the line: more strength may cost less.
        axes.fill(x + x[::-1], high + low[::-1], color=colour, alpha=0.12, linewidth=0)


def _heat(group: Group) -> Figure:
    """Mean leakage of every attack on every defense, coloured from the floor upwards."""
    columns = sorted({(entry.floor, entry.name) for row in group.rows for entry in row.attacks})
    names = [name for _, name in columns]
    values = np.full((len(group.rows), len(names)), np.nan)
    floors = [0.0]
    for i, row in enumerate(group.rows):
        for entry in row.attacks:
            leak = leakage(group.rank, entry.scores[group.rank].mean)
            values[i, names.index(entry.name)] = leak
            floors += [leak] if entry.floor and not np.isnan(leak) else []
    inner = 0.62 * len(names), 0.28 * len(group.rows)
    # A letter of a slanted label takes about 0.05 inches to the right of its column's middle.
    beyond = max(0.05 * len(name) - 0.62 * (len(names) - i - 0.5) for i, name in enumerate(names))
    width, height = 2.3 + inner[0] + max(0.6, beyond), 1.9 + inner[1]
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((2.3 / width, 0.1 / height, inner[0] / width, inner[1] / height))
    low = min(max(floors), 0.95)
    axes.pcolormesh(values[::-1], cmap="YlOrRd", vmin=low, vmax=1, edgecolors="white", linewidth=0.5)
    for i, row in enumerate(group.rows):
        for j, name in enumerate(names):
            strongest = row.strongest is not None and row.strongest.name == name
            axes.text(
                j + 0.5,
                len(group.rows) - i - 0.5,
                "n/a" if np.isnan(values[i, j]) else f"{values[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if values[i, j] > low + 0.75 * (1 - low) else "black",
                weight="bold" if strongest else "normal",
            )
    attacks, defenses = [_plain(name) for name in names], [_plain(row.name) for row in group.rows[::-1]]
    axes.set_xticks(np.arange(len(names)) + 0.5, attacks, rotation=30, ha="left", fontsize=7)
    axes.set_yticks(np.arange(len(group.rows)) + 0.5, defenses, fontsize=7)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    title = f"{group.title}: {group.terms.leaked(group.rank)}, strongest bold, colour above the floor"
    figure.text(0.02, 1 - 0.25 / height, _plain(title), fontsize=8)
    return figure


def _budget(group: Group, drawn: Sequence[Curve]) -> Figure:
    """Leakage against the evaluations spent, a line for each attack on each defense over its budgets."""
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.55, 0.78))
    for number, curve in enumerate(drawn):
        axes.plot(
            [point.evaluations for point in curve.points],
            [point.leak for point in curve.points],
            marker=_MARKERS[number % len(_MARKERS)],
            color=f"C{number % 10}",
            linewidth=1,
            markersize=5,
            label=_plain(curve.name),
        )
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=-1)
    axes.set_xlabel(f"gradient evaluations spent per {group.terms.per}")
    axes.set_ylabel(f"mean leakage: {group.terms.leaked(group.rank)}")
    axes.set_title(_plain(group.title), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure


def _signal(group: Group, found: Sequence[Cloud]) -> Figure:
    """Every image: its best reconstruction against how much of its release the defense left."""
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.6, 0.78))
    for number, cloud in enumerate(found):
        colour, marker = f"C{number % 10}", _MARKERS[number % len(_MARKERS)]
        label = f"{cloud.name}: {int(cloud.recovered.sum())} of {len(cloud.recovered)}"
        axes.scatter(
            cloud.signal,
            cloud.leak,
            marker=marker,
            s=22,
            facecolors=np.where(cloud.recovered, colour, "none"),
            edgecolors=colour,
            linewidths=0.8,
            label=_plain(label),
        )
    axes.set_xscale("log")
    axes.set_xlabel("norm of the undefended release / norm of what the defense changed in it")
    axes.set_ylabel(f"leakage of each image: {group.terms.leaked(group.rank)}")
    axes.set_title(_plain(group.title), fontsize=9)
    axes.grid(alpha=0.3)
    axes.text(0.03, 0.94, "filled: recovered", transform=axes.transAxes, fontsize=8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure
