"""How many private images each row gives away: by its strongest attack, by any attack, by blind guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.statistics import NOTHING, Interval, drop_interval, share_interval
from bench.report.terms import Rank, Terms, direction

if TYPE_CHECKING:
    from bench.report.entries import AttackEntry

_KEPT = ["slot", "cluster", "seed"]


def metric(words: Terms) -> str:
    """The column that says whether an image was recovered, on channel ``model`` a class recognised."""
    return "recognised" if words.by_class else "identified"


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What one attack, or the best of several, recovered.

    Attributes:
        share: of the images, with its interval.
        entry: number of the attack's entry; -1 for a union of several.
        images: one row per private image: ``slot``, ``cluster``, ``seed`` and ``hit``, 1 or 0.
    """

    share: Interval
    entry: int
    images: pd.DataFrame = field(repr=False, compare=False)


def recovery(images: pd.DataFrame, column: str, entry: int = -1) -> Recovery:
    """The share of some images that were recovered, each image once."""
    kept = images[_KEPT].assign(hit=images[column].to_numpy(dtype=float)).reset_index(drop=True)
    share = share_interval(*(kept[name].to_numpy() for name in ("hit", "cluster", "seed")))
    return Recovery(share=share, entry=entry, images=kept)


def strongest(
    entries: Sequence[AttackEntry], images: Mapping[int, pd.DataFrame], column: str, rank: Rank
) -> Recovery | None:
    """The one attack that recovers most; of equal ones that which leaks more by the ranking metric.

    The number of images decides, not the share: an attack that lacks images which another one has (a seed
    that failed, or is not done yet) stands for no fewer than it recovered.

    Args:
        entries: of attacks that see the release.
        images: by number of the entry.
        column: see :func:`metric`.
        rank: the ranking metric.
    """
    found = [
        entry for entry in entries if entry.number in images and images[entry.number][column].notna().any()
    ]

    def order(entry: AttackEntry) -> tuple[float, int, float, str]:
        own = images[entry.number]
        leak = direction(rank) * float(own[rank].mean()) if own[rank].notna().any() else -np.inf
        return -float(own[column].sum()), -len(own), -leak, entry.name

    if not found:
        return None
    best = min(found, key=order)
    return recovery(images[best.number], column, best.number)


def union(frames: Sequence[pd.DataFrame], column: str) -> Recovery | None:
    """What any of several attacks recovered, over the images that all of them scored."""
    known = [frame for frame in frames if frame[column].notna().any()]
    if not known:
        return None
    together = pd.concat(known)
    hits = together.groupby("slot")[column].agg(["max", "count"])
    first = together.drop_duplicates("slot").set_index("slot").sort_index()
    first = first.assign(**{column: hits["max"]})[hits["count"] == len(known)]
    return recovery(first.reset_index(), column)


def drop(before: Recovery | None, after: Recovery | None) -> Interval:
    """By how much the second recovers fewer of the images that both were scored on."""
    if before is None or after is None:
        return NOTHING
    both = before.images.merge(after.images[["slot", "hit"]], on="slot", suffixes=("", "_after"))
    return drop_interval(*(both[name].to_numpy() for name in ("hit", "hit_after", "cluster", "seed")))


def best_of(frames: Sequence[pd.DataFrame], rank: Rank) -> pd.DataFrame:
    """Per private image the best of several blind guesses, by the ranking metric.

    What is compared with the best of k attacks must be the best of k guesses: one of four blind samples lies
    nearer to a private image than one alone.
    """
    together = pd.concat(list(frames))
    leak = direction(rank) * together[rank]
    ordered = together.assign(leak=leak).sort_values(["slot", "leak"], ascending=[True, False], kind="stable")
    best: pd.DataFrame = ordered.drop_duplicates("slot").drop(columns="leak")
    return best
