"""The word for every row of a setting: what was recovered, against whom, and whether it was tested at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import pandas as pd

from bench.channels.shared.terms import Rank, Terms
from bench.matrix.suites import Suite
from bench.report.analysis.entries import Group, Row
from bench.report.analysis.owed import missing
from bench.report.analysis.recovery import Recovery, drop, recovery, union
from bench.report.analysis.tested import Setting, reasons, remarks
from bench.report.analysis.utility import resolution
from bench.report.analysis.verdict import Verdict, decide, net
from bench.report.analysis.worst import strongest
from bench.report.cards import Cards
from bench.report.frames import DONE, NAIVE
from bench.report.statistics import NOTHING, Interval


class Measured(Protocol):
    """What was read of a setting."""

    @property
    def words(self) -> Terms:
        """Of the channel."""

    @property
    def rank(self) -> Rank:
        """The ranking metric."""

    @property
    def cells(self) -> pd.DataFrame:
        """Records of all rows."""

    @property
    def images(self) -> Mapping[int, pd.DataFrame]:
        """Scored images by number of the entry."""

    @property
    def victims(self) -> pd.DataFrame:
        """One row per victim."""

    @property
    def cards(self) -> Cards:
        """Of the plug-ins."""

    @property
    def suite(self) -> Suite | None:
        """That the rows must have met."""

    @property
    def bounds(self) -> pd.DataFrame:
        """Records of what chose from a list of candidates."""

    @property
    def guesses(self) -> tuple[pd.DataFrame, ...]:
        """The images of each blind guess."""


def with_verdicts(group: Group, seen: Measured, fair: Mapping[int, pd.DataFrame]) -> Group:
    """The setting with a verdict in every row.

    Args:
        group: its rows have their recoveries.
        seen: what was read of it.
        fair: by number of a row, the best of as many blind guesses as it has attacks.
    """
    base, column = group.baseline, seen.words.recovery
    count = len(seen.suite.attacks) if seen.suite else len(seen.guesses)
    guesses = [frame for frame in seen.guesses[:count] if frame[column].notna().any()]
    control = _control(guesses, column) if seen.words.net else 0.0
    blind = _strongest_guess(guesses, column) if seen.words.net else union(guesses, column)
    setting = Setting(
        by_class=seen.words.by_class,
        suite=seen.suite,
        baseline=base,
        lead=drop(base.recovery, blind) if base else NOTHING,
        guesses=len(guesses),
        classes=seen.cards.classes(str(group.dataset).partition("[")[0]),
    )
    rows = tuple(replace(row, verdict=_verdict(row, setting, seen, control)) for row in group.rows)
    own = pd.DataFrame() if base is None else seen.victims[seen.victims["defense"] == base.defense]
    floor = fair[base.number] if base is not None else pd.DataFrame()
    return replace(
        group,
        rows=rows,
        suite=seen.suite.title if seen.suite else "",
        attacked=_attacked(base, seen),
        resolution=resolution(own["accuracy"]) if len(own) else math.nan,
        fair_floor=float(floor[group.rank].mean()) if len(floor) else math.nan,
        lead=setting.lead,
    )


def _verdict(row: Row, setting: Setting, seen: Measured, control: float) -> Verdict:
    column = seen.words.recovery
    attacks = [entry for entry in row.attacks if entry.done and not entry.floor]
    frames = [seen.images[entry.number] for entry in attacks if entry.number in seen.images]
    naive = [entry for entry in attacks if entry.adversary == NAIVE]
    cells = seen.cells[seen.cells["row"] == row.number]
    owed = missing(seen.suite, cells, seen.cells, seen.cards) if seen.suite else ()
    base = setting.baseline
    recovered, fell = _share(row.recovery, control), NOTHING
    if base is not None and base is not row:
        fell = _scaled(drop(base.recovery, row.recovery), 1 / (1 - control) if control < 1 else math.nan)
    why = reasons(setting, row, recovered, row.recovery.images if row.recovery else None, owed)
    return Verdict(
        word=None if row.baseline else decide(recovered, fell, why),
        recovered=recovered,
        union=_share(union(frames, column), control),
        drop=fell,
        naive=_share(strongest(naive, seen.images, column, seen.rank), control),
        identifiable=_identifiable(row, seen),
        attacks=_attacked(row, seen),
        reasons=() if row.baseline else why,
        remarks=remarks(setting),
    )


def _share(found: Recovery | None, control: float) -> Interval:
    if found is None:
        return NOTHING
    return net(found.share, control) if control else found.share


def _scaled(value: Interval, factor: float) -> Interval:
    return replace(value, mean=factor * value.mean, low=factor * value.low, high=factor * value.high)


def _control(guesses: list[pd.DataFrame], column: str) -> float:
    """The share of the strongest control; 0 where there is none."""
    return max((float(frame[column].mean()) for frame in guesses), default=0.0)


def _strongest_guess(guesses: list[pd.DataFrame], column: str) -> Recovery | None:
    best = max(guesses, key=lambda frame: float(frame[column].mean()), default=None)
    return None if best is None else recovery(best, column)


def _identifiable(row: Row, seen: Measured) -> Interval:
    """What the best of the bounds finds in its list of candidates."""
    mine = seen.bounds[(seen.bounds["row"] == row.number) & (seen.bounds["status"] == DONE)]
    known = [seen.images[entry] for entry in mine["entry"].unique() if entry in seen.images]
    found = [recovery(frame, "identified").share for frame in known]
    return max(found, key=lambda value: value.mean, default=NOTHING)


def _attacked(row: Row | None, seen: Measured) -> int:
    """How many attacks of the suite, each counted once, saw the releases of a row."""
    if row is None or seen.suite is None:
        return 0
    cells = seen.cells[(seen.cells["row"] == row.number) & (seen.cells["status"] == DONE)]
    cells = cells[~cells["floor"] & cells["attack_name"].isin(seen.suite.attacks)]
    return int(cells["attack_name"].nunique())
