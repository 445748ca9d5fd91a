"""What changed against another results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.entries import Group, Row, WorstCase
from bench.report.frames import IMAGE
from bench.report.statistics import NOTHING, Interval, paired_difference
from bench.report.text import score

Key = tuple[str, str]
"""Group and row."""


@dataclass(frozen=True)
class Change:
    """How one row's worst case moved.

    Attributes:
        kind: ``new``, ``gone``, ``same``, ``less`` or ``more`` leakage for certain, or ``unsure``.
        difference: ours minus theirs in the ranking metric, on the images that both have.
        accuracy: ours minus theirs, in points; NaN where either is unknown.
        metric: the ranking metric.
    """

    kind: str
    difference: Interval = NOTHING
    accuracy: float = float("nan")
    metric: str = "lpips"

    @property
    def text(self) -> str:
        """A few words."""
        if self.kind in ("new", "gone", "same"):
            return self.kind
        words = {"less": "leaks less", "more": "leaks more", "unsure": "no certain change"}[self.kind]
        return f"{words}: {score(self.metric, self.difference)}"


def compare(ours: Sequence[Group], theirs: Sequence[Group]) -> Mapping[Key, Change]:
    """The change of every row that either folder has, in the order of ours and then of theirs."""
    old = {(group.key, row.name): (group, row) for group in theirs for row in group.rows}
    found: dict[Key, Change] = {}
    for group in ours:
        for row in group.rows:
            key = group.key, row.name
            found[key] = _change(group, row, *old[key]) if key in old else Change("new")
    return found | {key: Change("gone") for key in old if key not in found}


def _change(group: Group, row: Row, other_group: Group, other: Row) -> Change:
    if group.rank != other_group.rank or row.worst is None or other.worst is None:
        return Change("same" if row.worst is other.worst else "unsure", metric=group.rank)
    difference = _difference(row.worst, other.worst, group.key)
    accuracy = 100 * (row.utility.mean - other.utility.mean)
    if difference.mean == difference.low == difference.high == 0 and not abs(accuracy) > 1e-9:
        return Change("same", difference, accuracy, group.rank)
    less = difference.low > 0 if group.rank == "lpips" else difference.high < 0
    more = difference.high < 0 if group.rank == "lpips" else difference.low > 0
    return Change("less" if less else "more" if more else "unsure", difference, accuracy, group.rank)


def _difference(own: WorstCase, other: WorstCase, key: str) -> Interval:
    both = own.best.merge(other.best, on=IMAGE, suffixes=("", "_other"))
    ours, theirs = (both[name].to_numpy(dtype=float) for name in ("value", "value_other"))
    return paired_difference(ours, theirs, both["cluster"].to_numpy(), key)
