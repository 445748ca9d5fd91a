"""What the page's drawers show: one per attack on one defense at one strength, as plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.api.cards import AttackCard, DefenseCard
from bench.channels.shared.terms import OF_IMAGES, Terms
from bench.report.analysis.entries import AttackEntry, Group, Row
from bench.report.analysis.reproduce import Commands
from bench.report.badges import Badge
from bench.report.cards import Cards
from bench.report.claims.claims import Judged
from bench.report.frames import DONE
from bench.report.page.album import Album, Sheet
from bench.report.page.threats import threat_lines
from bench.report.text import MISSING, interval, loss, mean, number, score
from bench.report.writers.markdown_group import NORMALISED, counts, failures

Json = dict[str, Any]


class Drawers:
    """Collects the entries and what they share: pictures and plug-ins.

    Args:
        cells: one row per record.
        cards: titles, parameters and requirements of the plug-ins.
        album: the contact sheets.
        commands: that measure a row again.
    """

    def __init__(self, cells: pd.DataFrame, cards: Cards, album: Album, commands: Commands) -> None:
        self._of: dict[int, list[Json]] = {}
        columns = [cells[name].tolist() for name in cells.columns]
        for values in zip(*columns, strict=True):  # pandas would take ten times as long
            cell: Json = dict(zip(cells.columns, values, strict=True))
            self._of.setdefault(cell["entry"], []).append(cell)
        self._cards = cards
        self._album = album
        self._commands = commands
        self._pictures: dict[str, list[Any]] = {}
        self._plugins: dict[str, Json] = {}
        self._entries: dict[str, Json] = {}
        self._versions: dict[str, int] = {}

    def key(self, entry: AttackEntry) -> str:
        """The name of a drawer: the id of its first cell."""
        return str(self._of[entry.number][0]["id"])

    def add(self, group: Group, row: Row, entry: AttackEntry) -> None:
        """Collects one entry."""
        cells = self._of[entry.number]
        first = cells[0]
        words = group.terms
        scores = [[words.heads[name], score(name, entry.scores[name])] for name in words.metrics]
        scores += [] if entry.floor else [[NORMALISED, interval(entry.normalised, 2)]]
        self._entries[self.key(entry)] = {
            "title": entry.name,
            "defense": row.name,
            "group": group.title,
            "others": [[self.key(other), other.name] for other in row.attacks],
            "floor": entry.floor,
            "strongest": row.strongest is not None and row.strongest.number == entry.number,
            "scores": scores if entry.done else [],
            "images": counts(entry.scores["psnr"]),
            "evaluations": f"{_thousands(entry.evaluations)} of {int(first['budget']):,}",
            "accuracy": f"{number(100 * row.utility.mean, 1)} %, a loss of {loss(row.loss)} points",
            "failures": failures(entry),
            "badge": entry.badge if entry.done else "",
            "flags": [*entry.flags, *row.flags],
            "threat": threat_lines(group, row, entry, first, self._cards.attack(str(first["attack_name"]))),
            "parameters": {
                role: json.loads(str(first[f"{role}_parameters"]))
                for role in ("attack", "defense", "dataset")
            },
            "plugins": [self._plugin(role, str(first[f"{role}_name"])) for role in ("attack", "defense")],
            "sheet": self._pictured(entry),
            "heads": [words.heads[name] for name in words.metrics if f"mean_{name}" in first],
            "records": [[*_record(cell, words).values(), self._version(cell)] for cell in cells],
            "command": self._commands.command(group, row, entry.attack),
            **_worded(words),
        }

    def data(self, flags: Mapping[str, str], badges: Mapping[Badge, str], judged: Sequence[Judged]) -> Json:
        """All of it, with the sentences behind flags and badges, and the claims of the plug-ins."""
        for item in judged:
            plugin = self._plugins.get(f"{item.kind} {item.plugin}")
            if plugin is not None:
                claim = [item.text, item.source, item.measured, item.setting, item.verdict, item.why]
                plugin["claims"].append(claim)
        return {
            "entries": self._entries,
            "pictures": self._pictures,
            "plugins": self._plugins,
            "flags": dict(flags),
            "badges": dict(badges),
            "comparison": self._commands.comparison,
            "versions": [*self._versions],
        }

    def sheet(self, entry: AttackEntry) -> Sheet | None:
        """The pictures of the first seed that has any; those of the others lie in ``sheets/``."""
        return self._first_sheet(entry)[1]

    def _first_sheet(self, entry: AttackEntry) -> tuple[int, Sheet | None]:
        for cell in self._of[entry.number]:
            sheet = self._album.sheet(cell["id"]) if cell["status"] == DONE else None
            if sheet is not None:
                return int(cell["seed"]), sheet
        return 0, None

    def _pictured(self, entry: AttackEntry) -> list[Any]:
        """The seed, the names of its two strips, and which sheets of other seeds lie beside the page.

        Nothing where there is no picture.
        """
        seed, sheet = self._first_sheet(entry)
        if sheet is None:
            return []
        strips = (sheet.originals, sheet.reconstructions)
        self._pictures |= {strip.name: [strip.uri, strip.images] for strip in strips}
        others = [cell for cell in self._of[entry.number] if int(cell["seed"]) != seed]
        beside = [[int(cell["seed"]), cell["id"]] for cell in others if self._album.holds(cell["id"])]
        return [seed, *(strip.name for strip in strips), beside]

    def _version(self, cell: Json) -> int:
        """The place of what measured a cell in the list of them all: many cells share it."""
        text = " · ".join(f"{name} {cell[name]}" for name in _VERSIONS if cell[name])
        return self._versions.setdefault(text, len(self._versions))

    def _plugin(self, role: str, name: str) -> str:
        key = f"{role} {name}"
        if key not in self._plugins:
            card = self._cards.attack(name) if role == "attack" else self._cards.defense(name)
            self._plugins[key] = {"role": role, "name": name, "claims": [], **_described(card)}
        return key


_ROLES = ("attack", "defense")
_STAGES = ("victim", "release", "reconstruction", "scores")
_VERSIONS = ("bench", "torch", "torchvision", "lpips", "numpy", "python", "device")


def _worded(words: Terms) -> Json:
    """What the drawer of a class says in other words than that of an image."""
    if words.above == OF_IMAGES.above:
        return {}
    return {"above": words.above, "floorName": words.floor, "counted": words.counted, "per": words.per}


def _described(card: AttackCard | DefenseCard | None) -> Json:
    if card is None:
        return {
            "title": "",
            "paper": "",
            "url": "",
            "notes": "its card is not installed here",
            "defaults": {},
        }
    defaults = {
        name: [item.default, item.default if item.published is None else item.published, item.description]
        for name, item in card.parameters.items()
    }
    url = card.url if card.url.startswith("https://") else ""
    notes = " ".join(card.notes.split())
    return {"title": card.title, "paper": card.paper, "url": url, "notes": notes, "defaults": defaults}


def _thousands(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:,.0f}"


def _record(cell: Json, words: Terms) -> Json:
    """What the page says of a cell: its script takes the values in this order, without the names."""
    spent = [float(cell[f"seconds_{stage}"]) for stage in _STAGES]
    own = float(cell["seconds_generator"])
    seconds = sum(spent) + (0.0 if math.isnan(own) else own)
    return {
        "seed": int(cell["seed"]),
        "id": str(cell["id"]),
        "key": str(cell["key"]),
        "status": str(cell["status"]),
        "values": [mean(name, cell[f"mean_{name}"]) for name in words.metrics if f"mean_{name}" in cell],
        "accuracy": number(100 * float(cell["accuracy"]), 1),
        "commit": str(cell["commit"])[:10] + (" with local changes" if cell["dirty"] == "True" else ""),
        "finished": str(cell["finished"]),
        "seconds": number(seconds, 1),
        "memory": number(float(cell["peak_memory_mb"]), 0),
    }
