"""Which defense gives away the fewest images for a given cost in accuracy, and how certain that is."""

from __future__ import annotations

import math

from bench.channels.shared.terms import direction
from bench.report.analysis.entries import Group, Place, Row, WorstCase
from bench.report.analysis.recovery import drop
from bench.report.analysis.worst import paired
from bench.report.statistics import Interval, places


def advantage(own: WorstCase, other: WorstCase, group: Group) -> Interval:
    """How much more ``own`` protects than ``other`` by the ranking metric, on the same images."""
    first, second = (other, own) if direction(group.rank) > 0 else (own, other)
    return paired(first.best, second.best, group.rank, group.key)


def within(group: Group, limit: float) -> tuple[Place, ...]:
    """Each defense at its best strength that costs at most ``limit`` points, the fewest images first.

    A place is an interval: a defense is ahead of another only if the whole interval of their paired
    difference says so.
    """
    chosen = _best_strengths(group, limit)
    standings = places(len(chosen), lambda i, j: drop(chosen[j].recovery, chosen[i].recovery))
    return tuple(
        Place(row=row, recovery=row.recovery, standing=standing)
        for row, standing in zip(chosen, standings, strict=True)
        if row.recovery is not None
    )


def order(row: Row, group: Group) -> tuple[int, float, float, str, float]:
    """The best protected first: by the word, then by what is recovered, then by the ranking metric.

    A row that was not tested comes last, however little was recovered from it.
    """
    word = row.verdict.word
    share = row.recovery.share.mean if row.recovery else math.inf
    leak = -row.worst.protection(group.rank) if row.worst else math.inf
    return (word.order if word else -1, share, leak, row.defense, row.strength)


def _best_strengths(group: Group, limit: float) -> list[Row]:
    """Per defense the admitted strength that protects best."""
    best: dict[str, Row] = {}
    admitted = [
        row
        for row in group.rows
        if not row.baseline and row.recovery is not None and row.ranked and group.admitted(row, limit)
    ]
    for row in sorted(admitted, key=lambda row: order(row, group)):
        best.setdefault(row.defense, row)
    return [*best.values()]
