"""What changed against another results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.channels.shared.terms import SHARES, direction
from bench.report.analysis.entries import Group, Row
from bench.report.frames import IMAGE
from bench.report.statistics import NOTHING, Interval, exact, paired_difference
from bench.report.text import difference
from bench.report.visible import NEGLIGIBLE, negligible

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
        visible: the smallest difference that is not negligible; NaN where that is not known.
    """

    kind: str
    difference: Interval = NOTHING
    accuracy: float = float("nan")
    metric: str = "lpips"
    visible: float = float("nan")

    @property
    def style(self) -> str:
        """Class of the page's style sheet: ``kind``, or none where the difference is negligible."""
        return "" if self._negligible else self.kind

    @property
    def _negligible(self) -> bool:
        return negligible(self.difference, self.visible)

    @property
    def text(self) -> str:
        """A few words."""
        if self.kind in ("new", "gone", "same"):
            return self.kind
        words = {"less": "leaks less", "more": "leaks more", "unsure": "no certain change"}[self.kind]
        end = f" {NEGLIGIBLE}" if self._negligible else ""
        return f"{words}: {difference(self.metric, self.difference)}{end}"


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
    pairs = row.worst.best.merge(other.worst.best, on=IMAGE, suffixes=("", "_other"))
    difference = _difference(pairs, group)
    accuracy = 100 * (row.utility.mean - other.utility.mean)
    equal = difference.n_images > 0 and (pairs["value"] == pairs["value_other"]).all()
    if equal and not abs(accuracy) > 1e-9:
        return Change("same", difference, accuracy, group.rank)
    rises, falls = difference.low > 0, difference.high < 0
    more, less = (rises, falls) if direction(group.rank) > 0 else (falls, rises)
    kind = "less" if less else "more" if more else "unsure"
    return Change(kind, difference, accuracy, group.rank, group.smallest_visible)


def _difference(pairs: pd.DataFrame, group: Group) -> Interval:
    ours, theirs = (pairs[name].to_numpy(dtype=float) for name in ("value", "value_other"))
    found = paired_difference(ours, theirs, pairs["cluster"].to_numpy(), group.key)
    return exact(found, -1.0) if group.rank in SHARES else found
