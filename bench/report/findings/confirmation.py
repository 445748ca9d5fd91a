"""The defenses named on top, measured once more on fresh seeds: the best of many rows is partly luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.records.results import CONFIRMATION
from bench.report.analysis.entries import LIMITS, Group, Row
from bench.report.analysis.leaderboard import build
from bench.report.analysis.reproduce import matrix_of
from bench.report.cards import Cards
from bench.report.findings.answers import answer
from bench.report.frames import Results, read_results


@dataclass(frozen=True)
class Named:
    """A defense row that the tables name on top, or the undefended row that it is compared with.

    Attributes:
        channel, dataset, model, checkpoint, batch_size: its setting.
        defense: label.
        strength: NaN for a defense without one.
    """

    channel: str
    dataset: str
    model: str
    checkpoint: str
    batch_size: int
    defense: str
    strength: float

    @property
    def place(self) -> tuple[object, ...]:
        """What names it, without a NaN, which equals nothing."""
        strength = None if math.isnan(self.strength) else self.strength
        setting = (self.channel, self.dataset, self.model, self.checkpoint, self.batch_size)
        return (*setting, self.defense, strength)


def named(groups: Sequence[Group]) -> tuple[Named, ...]:
    """The rows whose names stand out because their defense hides or reduces, each with its undefended row."""
    found: dict[tuple[object, ...], Named] = {}
    for group in groups:
        answers = [answer(group, limit) for limit in LIMITS]
        rows = [item.place.row for item in answers if item.protects and item.place]
        for row in [*rows, *([group.baseline] if rows and group.baseline else [])]:
            mine = _named(group, row)
            found[mine.place] = mine
    return tuple(found.values())


def _named(group: Group, row: Row) -> Named:
    return Named(*group.setting, row.defense, row.strength)


def build_confirmed(directory: Path, results: Results, cards: Cards | None = None) -> tuple[Group, ...]:
    """The leaderboard of a folder, its rows with what the fresh seeds say where they were measured.

    Args:
        directory: the results folder; the fresh seeds lie in ``confirmation/`` below it.
        results: what was read of it.
        cards: see :func:`bench.report.analysis.leaderboard.build`.
    """
    cards = cards or Cards()
    groups, fresh = build(results, cards), directory / CONFIRMATION
    if not (fresh / "records").is_dir():
        return groups
    again = build(read_results(fresh), cards, matrix=matrix_of(results))
    return confirmed(groups, again)


def confirmed(groups: Sequence[Group], fresh: Sequence[Group]) -> tuple[Group, ...]:
    """The groups, with a confirmation of each defended row that stands in both leaderboards."""
    known = {_named(group, row).place: (group, row) for group in fresh for row in group.rows}

    def of(group: Group) -> dict[int, tuple[Group, Row]]:
        places = {row.number: _named(group, row).place for row in group.rows if not row.baseline}
        found = {number: known[place] for number, place in places.items() if place in known}
        return {number: item for number, item in found.items() if item[1].recovery is not None}

    return tuple(replace(group, confirmations=of(group)) for group in groups)
