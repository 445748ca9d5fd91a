"""Short labels beside points, where they cover as little as possible of each other and of what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from bench.report.statistics.bootstrap import Floats

_SIZE = 7
"""Points of a label's letters; a digit is half as wide."""
_STEP = 2.0
"""Points between two samples of a line."""
_RINGS = (7.0, 10.0, 14.0, 19.0, 25.0, 32.0)
_LEADER = 7.0
"""Distances of a label from its point, and the gap from which a thin line joins them."""
_ANGLES = np.deg2rad([35, 145, -35, -145, 90, -90, 0, 180])
_ON_LABEL, _ON_MARK, _ON_LINE, _FAR = 20.0, 10.0, 0.8, 0.2
"""What a label costs for each sample that it covers, and for each point that it stands away."""


def label_points(axes: Axes, marks: Floats, texts: Sequence[str], colours: Sequence[str]) -> None:
    """Writes a text beside each point, one after the other, each at its best place.

    Args:
        axes: everything else is drawn in it, in a figure of 72 dots an inch.
        marks: ``[points, 2]`` in data coordinates.
        texts: one for each point.
        colours: of the points.
    """
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # settles the layout
    spots = axes.transData.transform(marks) if len(marks) else np.zeros((0, 2))
    lines = np.concatenate([*_samples(axes), np.zeros((1, 2))])
    taken = np.concatenate([lines, *(spots + shift for shift in _grid(2.0, 2.0))])
    weights = np.concatenate([np.full(len(lines), _ON_LINE), np.full(len(taken) - len(lines), _ON_MARK)])
    frame = axes.get_window_extent()
    low, high = np.array([frame.x0, frame.y0]), np.array([frame.x1, frame.y1])
    for spot, text, colour in zip(spots, texts, colours, strict=True):
        half = np.array([0.25 * _SIZE * len(text) + 0.5, 0.38 * _SIZE])
        offsets = _offsets(half)
        centres = spot + offsets
        covered = (np.abs(taken[None] - centres[:, None]) < half).all(axis=2) @ weights
        outside = ((centres - half < low) | (centres + half > high)).any(axis=1)
        cost = covered + _FAR * np.hypot(*offsets.T) + np.where(outside, 1e6, 0.0)
        best = offsets[int(cost.argmin())]
        gap = np.hypot(*np.maximum(np.abs(best) - half, 0.0))
        _write(axes, spot, best, text, colour, leader=bool(gap > _LEADER))
        box = spot + best + _grid(*half)
        taken = np.concatenate([taken, box])
        weights = np.concatenate([weights, np.full(len(box), _ON_LABEL)])


def _write(axes: Axes, spot: Floats, offset: Floats, text: str, colour: str, *, leader: bool) -> None:
    dark = tuple(0.65 * part for part in to_rgb(colour))
    line = {"arrowstyle": "-", "color": dark, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    place = tuple(axes.transData.inverted().transform(spot))
    note = axes.annotate(
        text, place, xytext=tuple(offset), textcoords="offset points",
        ha="center", va="center_baseline", fontsize=_SIZE, color=dark, zorder=4,
        arrowprops=line if leader else None,
    )  # fmt: skip
    note.set_in_layout(False)


def _offsets(half: Floats) -> Floats:
    """``[rings * angles, 2]``: from a point to the middle of its label, the nearest ones first."""
    ways = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    reach = np.array([max(half[0] - 2.5, 0.0), 0.0])
    return np.concatenate([ring * ways + np.sign(ways.round(6)) * reach for ring in _RINGS])


def _grid(width: float, height: float) -> Floats:
    """``[25, 2]``: points all over a box around zero."""
    across, up = np.meshgrid(np.linspace(-width, width, 5), np.linspace(-height, height, 5))
    return np.stack([across.ravel(), up.ravel()], axis=1)


def _samples(axes: Axes) -> Iterator[Floats]:
    """Points along all lines of the axes."""
    paths = [line.get_transform().transform(np.asarray(line.get_xydata())) for line in axes.lines]
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            paths += [collection.get_transform().transform(part) for part in collection.get_segments()]
    for path in paths:
        for start, end in pairwise(path):
            if np.isfinite([start, end]).all():
                count = int(np.hypot(*(end - start)) / _STEP) + 2
                yield np.linspace(start, end, count)
