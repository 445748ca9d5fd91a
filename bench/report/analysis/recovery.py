"""How many private images each row gives away: by its strongest attack, by any attack, by blind guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from bench.channels.shared.terms import Rank, direction
from bench.report.statistics import NOTHING, Interval, drop_interval, share_interval

_KEPT = ["slot", "cluster", "seed"]


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
