"""What the page's template asks for beside the numbers."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.channels.shared.terms import direction
from bench.report.analysis.entries import AttackEntry, Group, Row
from bench.report.analysis.reproduce import Commands
from bench.report.cards import Cards
from bench.report.claims.claims import Judged
from bench.report.figures.figures import slug
from bench.report.findings.changes import Change, Key
from bench.report.frames import DONE, Results
from bench.report.page.album import Album, Sheet
from bench.report.page.drawers import Drawers


@dataclass(frozen=True)
class Source:
    """All that the page is made of.

    Attributes:
        directory: the results folder, for its contact sheets.
        results: what was read.
        groups: the leaderboard.
        cards: the plug-ins' cards.
        judged: published claims beside ours.
        changes: against a baseline, if there is one.
    """

    directory: Path
    results: Results
    groups: tuple[Group, ...]
    cards: Cards
    judged: Sequence[Judged] = ()
    changes: Mapping[Key, Change] | None = None


class View:
    """What the template asks for beside the numbers."""

    def __init__(self, source: Source, album: Album, drawers: Drawers, commands: Commands) -> None:
        self._source = source
        self._album = album
        self._drawers = drawers
        self._cells = source.results.cells
        self._commands = commands
        self.matrix = commands.matrix
        self.done = int((self._cells["status"] == DONE).sum())
        self.images = len(source.results.images)
        self.seeds = int(self._cells["seed"].nunique())

    def axes(self) -> dict[str, list[str]]:
        """The values of each part of a group's name, in the order of the groups."""
        names = ("channel", "dataset", "model", "checkpoint", "batch_size")
        return {
            name: list(dict.fromkeys(str(getattr(group, name)) for group in self._source.groups))
            for name in names
        }

    def short(self, group: Group) -> str:
        """A group's title without what all groups have in common."""
        axes = self.axes()
        words = [getattr(group, name) for name in ("channel", "dataset") if len(axes[name]) > 1]
        return " · ".join([*words, group.model, group.checkpoint, f"B = {group.batch_size}"])

    def figure(self, kind: str, group: Group) -> str:
        """A drawn figure of the folder as a data URI; empty where there is none."""
        path = self._source.directory / "figures" / f"{kind}-{slug(group)}.svg"
        return _embedded(path) if path.is_file() else ""

    def pictured(self, group: Group) -> bool:
        """Whether there is a picture of any row of the group."""
        return any(self.sheet(row.strongest) for row in group.rows)

    def along(self) -> list[str]:
        """The figures of several groups along an axis of their federation, as data URIs."""
        return [_embedded(path) for path in sorted((self._source.directory / "figures").glob("axis-*.svg"))]

    def key(self, entry: AttackEntry) -> str:
        """Which drawer belongs to an entry."""
        return self._drawers.key(entry)

    def sheet(self, entry: AttackEntry | None) -> Sheet | None:
        """The pictures that the drawer of an entry shows."""
        return None if entry is None else self._drawers.sheet(entry)

    def command(self, group: Group, row: Row) -> str:
        """Measures a row again, and the undefended victim beside it."""
        return self._commands.command(group, row)

    def attacks(self, group: Group) -> list[tuple[str, str, bool]]:
        """The columns of the heat map: attack, adversary, floor; floors last."""
        found = {(entry.floor, entry.attack, entry.adversary) for row in group.rows for entry in row.attacks}
        return [(attack, adversary, floor) for floor, attack, adversary in sorted(found)]

    def entry(self, row: Row, attack: str, adversary: str) -> AttackEntry | None:
        """One field of the heat map."""
        pairs = {(entry.attack, entry.adversary): entry for entry in row.attacks}
        return pairs.get((attack, adversary))

    def heat(self, group: Group, entry: AttackEntry) -> float:
        """How far below the floor a reconstruction is: 0 learns nothing, 1 is exact."""
        value = entry.scores[group.rank].mean
        floors = [
            other.scores[group.rank].mean
            for row in group.rows
            for other in row.attacks
            if other.floor and other.done
        ]
        known = [floor for floor in floors if not math.isnan(floor)]
        if direction(group.rank) > 0:
            floor = max(known, default=0.0)
            share = (value - floor) / (1 - floor) if floor < 1 else 0.0
        else:
            floor = min(known, default=0.5)
            share = 1 - value / floor if floor > 0 else 0.0
        return 0.0 if math.isnan(share) else round(min(max(share, 0.0), 1.0), 3)

    def place(self, group: Group, row: Row, limit: float) -> str:
        """The row's rank within a limit; empty where another strength stands for its defense."""
        places = {place.row.number: place.standing.rank for place in group.places[limit]}
        return places.get(row.number, "")

    def change(self, group: Group, row: Row) -> Change | None:
        """Against the baseline folder."""
        return None if self._source.changes is None else self._source.changes[group.key, row.name]


def _embedded(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
