"""The figures as SVG: of each group what is recovered at what cost, a heat map, single images, and more.

Of groups that differ in one axis of their federation: what was recovered along it.
The same records give the same bytes: no date, no random names.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bench.channels.shared.terms import leakage
from bench.records.files import write_atomic
from bench.report.analysis.entries import Group
from bench.report.figures import adaptive, distribution, federation, tradeoff
from bench.report.figures.looks import COLOURS, SHAPES, looks
from bench.report.figures.signal import Cloud, clouds
from bench.report.findings.effort import Curve, curves
from bench.report.frames import Results
from bench.report.text import brief

_KINDS = ("leakage", "tradeoff", "adaptive", "images", "heat", "budget", "signal", "axis")
"""Also of figures that are drawn no more."""
_FONTS = ["DejaVu Sans", "Verdana", "sans-serif"]
"""Text stays text, in fonts of equal widths: glyphs as paths were most of the bytes of a figure."""
Shown = TypeVar("Shown")
_COORDINATES = re.compile(rb' (?:d|x|y)="[^"]*"')
_DECIMALS = re.compile(rb"(\.\d\d)\d+")


def slug(group: Group) -> str:
    """A file name for a group; labels that need changing keep apart by a digest."""
    return _slug(group.key)


def _slug(key: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", key).strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    return plain if plain == key.replace("|", "-") else f"{plain}-{digest}"


def write(folder: Path, results: Results, groups: tuple[Group, ...]) -> None:
    """Draws ``<kind>-<group>.svg`` and ``axis-*.svg``, those that show anything.

    Figures of groups that are gone are removed.
    """
    wanted: dict[str, bytes] = {}
    for group in groups:
        if len(points := tradeoff.points(group.rows)):
            wanted[f"tradeoff-{slug(group)}.svg"] = _save(group.key, _titled(group, tradeoff.draw, points))
        pairs = adaptive.points(group.rows)
        if len(pairs) and pairs["naive"].notna().any():
            wanted[f"adaptive-{slug(group)}.svg"] = _save(group.key, _titled(group, adaptive.draw, pairs))
        if shown := distribution.images(group):
            figure = _titled(group, distribution.draw, shown)
            wanted[f"images-{slug(group)}.svg"] = _save(group.key, figure)
        if any(entry.done for row in group.rows for entry in row.attacks):
            wanted[f"heat-{slug(group)}.svg"] = _save(group.key, _heat(group))
        if drawn := curves(results, group):
            wanted[f"budget-{slug(group)}.svg"] = _save(group.key, _budget(group, drawn))
        if found := clouds(results, group):
            wanted[f"signal-{slug(group)}.svg"] = _save(group.key, _signal(group, found))
    for curve in federation.curves(groups):
        key = f"{curve.axis}|{curve.place}"
        wanted[f"axis-{_slug(key)}.svg"] = _save(key, federation.draw(curve, _plain))
    for old in sorted(path for kind in _KINDS for path in folder.glob(f"{kind}-*.svg")):
        if old.name not in wanted:
            old.unlink()
    for name, content in wanted.items():
        write_atomic(folder / name, content)


def _save(key: str, figure: Figure) -> bytes:
    with matplotlib.rc_context({"svg.hashsalt": key, "svg.fonttype": "none", "font.sans-serif": _FONTS}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # Coordinates to a hundredth of a point: all that anybody sees, in half of the bytes.
    return _COORDINATES.sub(lambda found: _DECIMALS.sub(rb"\1", found.group()), buffer.getvalue())


def _plain(text: str) -> str:
    """Untrusted text without the dollar signs that would start a formula."""
    return text.replace("$", r"\$")


def _heading(group: Group) -> str:
    return _plain(brief(group.title))


def _titled(group: Group, draw: Callable[[Group, Shown, float], Figure], shown: Shown) -> Figure:
    """A figure of those that papers have, too, in the width of the page."""
    with matplotlib.rc_context(tradeoff.style(9)):
        figure = draw(group, shown, 7.5)
        figure.suptitle(_heading(group), fontsize=9)
    return figure


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
    title = (
        f"{_heading(group)}: {_plain(group.terms.leaked(group.rank))}, strongest bold, colour above the floor"
    )
    figure.text(0.02, 1 - 0.25 / height, title, fontsize=8)
    return figure


def _budget(group: Group, drawn: Sequence[Curve]) -> Figure:
    """Leakage against the evaluations spent, a line for each attack on each defense over its budgets."""
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.55, 0.78))
    for number, curve in enumerate(drawn):
        axes.plot(
            [point.evaluations for point in curve.points],
            [point.leak for point in curve.points],
            marker=SHAPES[number % len(SHAPES)],
            color=COLOURS[number % len(COLOURS)],
            linewidth=1,
            markersize=5,
            label=_plain(curve.name),
        )
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=-1)
    axes.set_xlabel(f"gradient evaluations spent per {group.terms.per}")
    axes.set_ylabel(f"mean leakage: {group.terms.leaked(group.rank)}")
    axes.set_title(_heading(group), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure


def _signal(group: Group, found: Sequence[Cloud]) -> Figure:
    """Every image: its best reconstruction against how much of its release the defense left.

    Strengths of one defense follow each other in the legend, and their points grow.
    """
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.6, 0.78))
    known, strengths = looks(cloud.defense for cloud in found), Counter[str]()
    for cloud in found:
        look = known[cloud.defense]
        strengths[cloud.defense] += 1
        label = f"{cloud.name}: {int(cloud.recovered.sum())} of {len(cloud.recovered)}"
        axes.scatter(
            cloud.signal,
            cloud.leak,
            marker=look.shape,
            s=14 * strengths[cloud.defense],
            facecolors=np.where(cloud.recovered, look.colour, "none"),
            edgecolors=look.colour,
            linewidths=0.8,
            clip_on=False,  # nothing is outside, and each point would be cut by an element of its own
            label=_plain(label),
        )
    axes.set_xscale("log")
    axes.set_xlabel("norm of the undefended release / norm of what the defense changed in it")
    axes.set_ylabel(f"leakage of each image: {group.terms.leaked(group.rank)}")
    axes.set_title(_heading(group), fontsize=9)
    axes.grid(alpha=0.3)
    axes.text(0.03, 0.94, "filled: recovered", transform=axes.transAxes, fontsize=8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure
