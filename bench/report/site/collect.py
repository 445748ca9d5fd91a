"""Several results folders as one list of settings, each with what its rows have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.api.errors import UsageError
from bench.records.publication import Publication, read_publication
from bench.report.analysis.entries import LIMITS, AttackEntry, Group, Row
from bench.report.analysis.reproduce import Commands
from bench.report.analysis.verdict import Word
from bench.report.badges import least
from bench.report.cards import Cards
from bench.report.claims.across import across
from bench.report.claims.claims import Judged, judge
from bench.report.figures.figures import slug
from bench.report.findings.answers import Answer, answer
from bench.report.findings.confirmation import build_confirmed
from bench.report.findings.recovered import again, levels
from bench.report.frames import DONE, Results, read_results

PAGE = "index.html"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One results folder.

    Attributes:
        directory: where it lies.
        page: the address of its own page, seen from the site; empty if it has none.
        results: what was read of it.
        groups: its leaderboard.
        publication: which commit measured it; None if it is not published.
        commands: that measure its rows again.
    """

    directory: Path
    page: str
    results: Results = field(repr=False)
    groups: tuple[Group, ...]
    publication: Publication | None
    commands: Commands = field(repr=False)

    @property
    def name(self) -> str:
        """As the site calls it."""
        return self.directory.resolve().name

    @property
    def done(self) -> int:
        """Cells with a result."""
        return int((self.results.cells["status"] == DONE).sum())

    @cached_property
    def drawers(self) -> dict[int, str]:
        """By number of an attack's entry, the cell that names its drawer on the folder's page."""
        firsts = self.results.cells.drop_duplicates("entry")
        return dict(zip(firsts["entry"].astype(int), firsts["id"].astype(str), strict=True))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of one folder."""

    folder: Folder
    group: Group

    @property
    def anchor(self) -> str:
        """Its name inside the site."""
        return f"{self.folder.name}-{slug(self.group)}"

    @property
    def levels(self) -> dict[str, float]:
        """The shares that every row is set beside."""
        return levels(self.group)

    @property
    def defended(self) -> tuple[Row, ...]:
        """All rows but the undefended one."""
        return tuple(row for row in self.group.rows if not row.baseline)

    @property
    def shared(self) -> tuple[str, ...]:
        """Flags that all rows carry."""
        return _common(row.headline for row in self.group.rows)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no defense here was tested, where it is the same for all."""
        return _common(row.verdict.reasons for row in self.defended)

    @property
    def badge(self) -> str:
        """How far all numbers of the setting were verified."""
        return least(row.badge for row in self.group.rows)

    @property
    def link(self) -> str:
        """Its part of the folder's page; empty if there is none."""
        return f"{self.folder.page}#{slug(self.group)}" if self.folder.page else ""

    def drawer(self, entry: AttackEntry) -> str:
        """The drawer of an attack on the folder's page, with pictures; empty without a page."""
        return f"{self.folder.page}#cell-{self.folder.drawers[entry.number]}" if self.folder.page else ""

    def command(self, row: Row) -> str:
        """Measures a row again, and the undefended victim beside it."""
        return self.folder.commands.command(self.group, row)

    def notes(self, row: Row) -> tuple[list[str], list[str]]:
        """What is said of a row and not of all: sentences, and codes of flags."""
        fresh = again(self.group.confirmations.get(row.number), row.verdict.word)
        texts = [reason for reason in row.verdict.reasons if reason not in self.reasons]
        flags = [flag for flag in row.headline if flag not in self.shared]
        return [*texts, *([fresh] if fresh else [])], flags

    @property
    def answer(self) -> Answer:
        """The defense that protects best within the smallest limit of accuracy."""
        return answer(self.group, LIMITS[0])


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that the page shows."""

    folders: tuple[Folder, ...]
    judged: Sequence[Judged] = field(repr=False)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Those of all folders; equal parts of their names stand together, in the order they first appear."""
        found = [Setting(folder=folder, group=group) for folder in self.folders for group in folder.groups]
        names = [item.group.setting for item in found]
        firsts = [[*dict.fromkeys(part)] for part in zip(*names, strict=True)]

        def order(item: Setting) -> list[int]:
            return [first.index(part) for first, part in zip(firsts, item.group.setting, strict=True)]

        return tuple(sorted(found, key=order))

    @property
    def answers(self) -> list[Setting]:
        """The settings with a defense, those that one protects in first."""
        asked = [item for item in self.settings if item.defended]
        return sorted(asked, key=lambda item: item.answer.word.order if item.answer.word else len(Word))

    def choices(self) -> dict[str, list[str]]:
        """What the filters offer, by the name of a filter."""
        groups = [item.group for item in self.settings]
        rows = [row for item in self.settings for row in item.defended]
        words = {row.verdict.word for row in rows}
        return {
            "dataset": [*dict.fromkeys(group.dataset for group in groups)],
            "channel": [*dict.fromkeys(group.channel for group in groups)],
            "defense": sorted({plugin(row) for row in rows}),
            "word": [word.value for word in Word if word in words],
        }


def plugin(row: Row) -> str:
    """The defense of a row without its parameters."""
    return row.defense.partition("[")[0]


def collect(directories: Sequence[Path], out: Path, cards: Cards | None = None) -> Site:
    """Reads results folders.

    Args:
        directories: the folders, in the order in which equal settings are shown.
        out: where the page will lie; links to the folders' pages start there.
        cards: where plug-in cards come from; the installed plug-ins by default.
    """
    cards = cards or Cards()
    names = [directory.resolve().name for directory in directories]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two folders are called {min(twice)}; the page could not tell them apart")
    folders = tuple(_read(directory, out, cards) for directory in directories)
    judged = {folder.name: judge(folder.groups, folder.results.images) for folder in folders}
    return Site(folders=folders, judged=across(judged))


def _read(directory: Path, out: Path, cards: Cards) -> Folder:
    results = read_results(directory)
    page = directory / PAGE
    shown = page.is_file() and page.resolve() != out.resolve()
    return Folder(
        directory=directory,
        page=Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix() if shown else "",
        results=results,
        groups=build_confirmed(directory, results, cards),
        publication=read_publication(directory) if results.published else None,
        commands=Commands(results),
    )


def _common(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """What stands in all of them, in the order of the first."""
    found = [*lists]
    return tuple(item for item in found[0] if all(item in other for other in found)) if found else ()
