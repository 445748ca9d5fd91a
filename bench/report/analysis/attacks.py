"""Which attack is strongest over all defenses, on complete blocks only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.channels.shared.terms import SHARES, Rank, direction
from bench.report.analysis.entries import AttackPlace
from bench.report.analysis.worst import leak_rank
from bench.report.frames import ATTACK
from bench.report.statistics import Interval, exact, mean_ci, paired_difference, places
from bench.report.statistics.bootstrap import Floats


def rank_attacks(images: Sequence[pd.DataFrame], rank: Rank, key: str) -> tuple[AttackPlace, ...]:
    """Ranks attacks with their adversaries by the mean of the ranking metric, the strongest first.

    A defense row is a complete block if every attack that has a result anywhere in the group has one there;
    within the blocks, only private images that every attack scored on every row count.

    Args:
        images: one frame per attack and row, with ``row``, ``entry``, ``floor``, ``slot``, ``cluster`` and
            the metrics.
        rank: the metric that decides.
        key: names the group, see :func:`bench.report.statistics.mean_cis`.
    """
    if not images:
        return ()
    together = pd.concat(images)
    together = together.assign(leak=leak_rank(together, rank)).dropna(subset=["leak"])
    entries = _complete(together.drop_duplicates("entry"))
    table = together.pivot(index=["cluster", "slot"], columns="entry", values="leak")
    table = table[[number for numbers in entries.values() for number in numbers]].dropna()
    if table.empty:
        return ()
    clusters = table.index.get_level_values("cluster").to_numpy()
    values = {who: table[numbers].to_numpy(dtype=float).mean(axis=1) for who, numbers in entries.items()}
    order = sorted(values, key=lambda who: (float(values[who].mean()), who))

    def ahead(i: int, j: int) -> Interval:
        """Positive where the first one leaks more."""
        found = paired_difference(values[order[j]], values[order[i]], clusters, key)
        return exact(found, -1.0) if rank in SHARES else found

    standings = places(len(order), ahead)
    return tuple(
        AttackPlace(
            name=f"{who.attack}/{who.adversary}",
            floor=who.floor,
            leak=_leak(np.asarray(-direction(rank) * values[who]), clusters, rank, key),
            blocks=len(entries[who]),
            standing=standing,
        )
        for who, standing in zip(order, standings, strict=True)
    )


def _leak(values: Floats, clusters: NDArray[Any], rank: Rank, key: str) -> Interval:
    found = mean_ci(values, clusters, key)
    return exact(found) if rank in SHARES else found


class _Who(NamedTuple):
    attack: str
    adversary: str
    floor: bool


def _complete(entries: pd.DataFrame) -> dict[_Who, list[int]]:
    """Per attack its entries on the rows on which every attack has a result."""
    found: dict[_Who, dict[int, int]] = {}
    for item in entries[["row", "entry", *ATTACK, "floor"]].to_dict("records"):
        who = _Who(str(item["attack"]), str(item["adversary"]), bool(item["floor"]))
        found.setdefault(who, {})[int(item["row"])] = int(item["entry"])
    rows = sorted(set.intersection(*(set(mine) for mine in found.values()))) if found else []
    return {who: [mine[row] for row in rows] for who, mine in found.items()}
