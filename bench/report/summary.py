"""Which defense leaks least for a given cost in accuracy, and how certain that is."""

from __future__ import annotations

import math

from bench.report.entries import Group, Place, Row, WorstCase
from bench.report.statistics import Interval, places
from bench.report.terms import direction
from bench.report.worst import paired


def advantage(own: WorstCase, other: WorstCase, group: Group) -> Interval:
    """How much more ``own`` protects than ``other``, on the same images; positive is better."""
    first, second = (other, own) if direction(group.rank) > 0 else (own, other)
    return paired(first.best, second.best, group.rank, group.key)


def within(group: Group, limit: float) -> tuple[Place, ...]:
    """Each defense at its best strength that costs at most ``limit`` points, the least leak first.

    A place is an interval: a defense is ahead of another only if the whole interval of their paired
    difference says so.
    """
    chosen = _best_strengths(group, limit)
    standings = places(len(chosen), lambda i, j: advantage(chosen[i][1], chosen[j][1], group))
    return tuple(
        Place(row=row, worst=worst, standing=standing)
        for (row, worst), standing in zip(chosen, standings, strict=True)
    )


def _best_strengths(group: Group, limit: float) -> list[tuple[Row, WorstCase]]:
    best: dict[str, tuple[float, Row, WorstCase]] = {}
    for row in group.rows:
        affordable = row.loss.mean <= limit + 1e-9  # False for NaN
        if row.baseline or row.worst is None or not row.ranked or not affordable:
            continue
        protection = row.worst.protection(group.rank)
        if math.isnan(protection) or (row.defense in best and protection <= best[row.defense][0]):
            continue
        best[row.defense] = (protection, row, row.worst)
    ordered = sorted(best.values(), key=lambda item: (-item[0], item[1].defense))
    return [(row, worst) for _, row, worst in ordered]
