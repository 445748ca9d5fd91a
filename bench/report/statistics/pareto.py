"""Trade-offs between what a defense costs and what it protects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pareto_front(points: Floats) -> NDArray[np.bool_]:
    """Which points no other point dominates: at least as good in both, better in one.

    Args:
        points: ``[n, 2]``, larger is better; a point with a missing value is never on the front, and never
            dominates.
    """
    front = np.zeros(len(points), dtype=bool)
    for i, point in enumerate(points):
        at_least, more = (points >= point).all(axis=1), (points > point).any(axis=1)
        front[i] = bool(np.isfinite(point).all() and not (at_least & more).any())
    return front


def covered_area(costs: Floats, gains: Floats, limit: float) -> Floats:
    """The area below the staircase of the best gain that each cost allows, per unit of cost.

    This is the 2-D hypervolume with the reference point (``limit``, 0), divided by ``limit``: the gain to
    be had on average when the allowed cost is anything from 0 to ``limit``, in units of the gain.

    Args:
        costs: ``[n]``, smaller is better; below zero counts as zero, beyond ``limit`` adds nothing.
        gains: ``[..., n]``, larger is better; below zero counts as zero. Leading axes are resamples.
        limit: the cost of the reference point.

    Returns:
        ``[...]``.
    """
    order = np.argsort(costs, kind="stable")
    edges = np.clip(costs[order], 0.0, limit)
    widths = np.diff(np.append(edges, limit))
    best = np.maximum.accumulate(np.clip(gains[..., order], 0.0, None), axis=-1)
    return np.asarray((best * widths).sum(axis=-1) / limit)
