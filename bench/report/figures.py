"""Privacy against utility, one SVG per group; the same records give the same bytes."""

from __future__ import annotations

import hashlib
import io
import re
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.entries import Group, Row
from bench.report.files import replace_file

_MARKERS = "osD^vP*Xhp<>d8H"
_PREFIX = "leakage-"


def slug(group: Group) -> str:
    """A file name for a group; labels that need changing keep apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", group.key).strip("-")
    digest = hashlib.sha256(group.key.encode()).hexdigest()[:6]
    return plain if plain == group.key.replace("|", "-") else f"{plain}-{digest}"


def write(folder: Path, groups: tuple[Group, ...]) -> None:
    """Draws ``leakage-<group>.svg`` for each group that has something to show, and removes older ones."""
    wanted = {f"{_PREFIX}{slug(group)}.svg": group for group in groups if any(map(_shown, group.rows))}
    for old in sorted(folder.glob(f"{_PREFIX}*.svg")):
        if old.name not in wanted:
            old.unlink()
    for name, group in wanted.items():
        replace_file(folder / name, _draw(group))


def _shown(row: Row) -> bool:
    return row.worst is not None and row.utility.seeds > 0


def _draw(group: Group) -> bytes:
    with matplotlib.rc_context({"svg.hashsalt": group.key, "svg.fonttype": "path"}):
        figure = Figure(figsize=(7.5, 4.5), layout="constrained")
        axes = figure.subplots()
        shown = [row for row in group.rows if _shown(row)]
        for number, (label, rows) in enumerate(groupby(shown, key=lambda row: row.defense)):
            _curve(axes, list(rows), group, _plain(label), number)
        axes.set_xlabel("utility: accuracy of the victim, %")
        measure = "1 - LPIPS" if group.rank == "lpips" else "SSIM"
        axes.set_ylabel(f"worst-case leakage: {measure}")
        axes.set_title(_plain(group.title), fontsize=9)
        axes.grid(alpha=0.3)
        axes.annotate(
            "better", (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=8, style="italic"
        )
        figure.legend(loc="outside right upper", fontsize=7, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Foreign text without the dollar signs that would start a formula."""
    return text.replace("$", r"\$")


def _curve(axes: Axes, rows: list[Row], group: Group, label: str, number: int) -> None:
    """One defense over its strengths."""
    x, y, below, above = [], [], [], []
    for row in rows:
        assert row.worst is not None
        value = row.worst.scores[group.rank]
        low, high = (value.low, value.high) if value.n_clusters > 1 else (value.mean, value.mean)
        if group.rank == "lpips":
            mean, low, high = 1 - value.mean, 1 - high, 1 - low
        else:
            mean = value.mean
        x.append(100 * row.utility.mean)
        y.append(mean)
        below.append(max(mean - low, 0.0))
        above.append(max(high - mean, 0.0))
    axes.errorbar(
        x,
        y,
        yerr=[below, above],
        marker=_MARKERS[number % len(_MARKERS)],
        color="black" if rows[0].baseline else f"C{number % 10}",
        linewidth=1,
        markersize=5,
        capsize=2,
        label=label,
    )
