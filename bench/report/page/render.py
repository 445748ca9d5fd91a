"""Fills the page's template."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.report.answers import answer
from bench.report.badges import MEANING
from bench.report.cards import Cards
from bench.report.changes import Change, Key
from bench.report.claims import Judged
from bench.report.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Row
from bench.report.figures import slug
from bench.report.flags import LEGEND
from bench.report.frames import DONE, Results
from bench.report.markdown_group import HEADS, counts, failures
from bench.report.page import chart
from bench.report.page.album import Album, Sheet
from bench.report.page.drawers import Drawers
from bench.report.protocol import caption
from bench.report.reproduce import Commands
from bench.report.statistics import Interval, certainly_positive
from bench.report.text import bounds, number, percent, score

_TEMPLATES = Path(__file__).parent / "templates"
_DIGITS = {"psnr": (1.0, 1), "ssim": (1.0, 3), "lpips": (1.0, 3)}


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


def render(source: Source) -> str:
    """The whole page; the same source gives the same text."""
    cells = source.results.cells
    album = Album(source.directory / "sheets")
    commands = Commands(cells)
    drawers = Drawers(cells, source.cards, album, commands)
    for group, row, entry in _entries(source.groups):
        drawers.add(group, row, entry)
    view = View(source, album, drawers, commands)
    style, script = (_read(name) for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("index.html.jinja")
        .render(
            view=view,
            groups=source.groups,
            limits=LIMITS,
            style=style,
            script=script,
            policy=_policy(script),
            caption=caption(source.results, source.groups),
            problems=source.results.problems,
            judged=source.judged,
            changes=source.changes,
            flags=LEGEND,
            badges=MEANING,
            heads=HEADS,
            reference=HYPERVOLUME_LIMIT,
            data=_embedded(drawers.data(LEGEND, MEANING, source.judged)),
        )
    )


def _entries(groups: Iterable[Group]) -> Iterable[tuple[Group, Row, AttackEntry]]:
    return ((group, row, entry) for group in groups for row in group.rows for entry in row.attacks)


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing may be loaded, and only this very script may run; style attributes carry numbers."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    rules = [
        "default-src 'none'",
        f"script-src 'sha256-{digest}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _embedded(data: object) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent, "slug": slug, "failures": failures}
    environment.filters |= {"counts": counts, "certain": certainly_positive, "raw": _raw, "breaks": _breaks}
    environment.globals |= {"answer": answer, "interval": _interval, "plain": _plain, "isnan": math.isnan}
    return environment


def _interval(metric: str, value: Interval) -> tuple[str, str]:
    """Mean and bounds of a metric in its own unit, apart; see :func:`bench.report.text.score`."""
    scale, digits = _DIGITS.get(metric, (100.0, 0))
    if math.isnan(value.mean):
        return score(metric, value), ""
    return number(scale * value.mean, digits), bounds(scale * value.low, scale * value.high, digits)


def _plain(value: Interval, digits: int) -> tuple[str, str]:
    """The same for a number without a unit."""
    if math.isnan(value.mean):
        return number(value.mean, digits), ""
    return number(value.mean, digits), bounds(value.low, value.high, digits)


def _breaks(text: str) -> Markup:
    """Foreign text that may break after the signs inside long labels."""
    text = text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return Markup(re.sub(r"([/\[=,_](?!\N{NO-BREAK SPACE}))", r"\1<wbr>", str(escape(text))))


def _raw(value: float) -> str:
    """For sorting: six decimals, empty for what is missing."""
    return "" if math.isnan(value) else f"{value + 0.0:.6f}"


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

    def chart(self, group: Group) -> chart.Chart | None:
        """Privacy against utility."""
        return chart.draw(group)

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
        if group.rank == "ssim":
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
