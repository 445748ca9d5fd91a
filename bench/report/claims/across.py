"""The claims of all papers, over several results folders at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.claims.claims import Judged, judge
from bench.report.frames import read_results


def judge_folders(folders: Sequence[Path], cards: Cards | None = None) -> list[Judged]:
    """The claims of every plug-in that one of the results folders holds, wherever they were measured.

    Args:
        folders: results folders; their names say where a claim was measured.
        cards: where plug-in cards come from; the installed plug-ins by default.
    """
    cards = cards or Cards()
    found = {}
    for folder in folders:
        results = read_results(folder)
        found[folder.resolve().name] = judge(build(results, cards), results.images)
    return across(found)


def across(judged: Mapping[str, Sequence[Judged]]) -> list[Judged]:
    """What was measured in any of the folders, and once what no folder can compare, in the order of a page.

    Args:
        judged: the claims of each folder, by its name.
    """
    measured: list[Judged] = []
    nowhere: dict[tuple[str, str, int], Judged] = {}
    for folder, claims in judged.items():
        for item in claims:
            if item.verdict == "not comparable":
                nowhere.setdefault((item.kind, item.plugin, item.number), item)
            else:
                measured.append(replace(item, setting=f"{folder}: {item.setting}"))
    known = {(item.kind, item.plugin, item.number) for item in measured}
    everything = [*measured, *(item for claim, item in nowhere.items() if claim not in known)]
    return sorted(everything, key=lambda item: (item.order, item.kind, item.plugin, item.number))
