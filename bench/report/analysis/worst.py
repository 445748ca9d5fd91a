"""The worst case of a defense row: per image, the best reconstruction that any attack achieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.channels.shared.terms import SHARES, TIES, Rank, direction
from bench.report.analysis.entries import SCORES, SUCCESS_PSNR, AttackEntry, WorstCase
from bench.report.analysis.recovery import Recovery, recovery
from bench.report.frames import ATTACK, IMAGE
from bench.report.statistics import Interval, exact, mean_cis, paired_difference

_BEST = [*IMAGE, "slot", "cluster", "lpips", "ssim", "recognised"]


def scores(images: pd.DataFrame, key: str) -> Mapping[str, Interval]:
    """All metrics of some images with their intervals."""
    psnr = images["psnr"].to_numpy(dtype=float)
    success = np.where(np.isnan(psnr), np.nan, psnr > SUCCESS_PSNR)
    values = np.column_stack([images[SCORES[:-1]].to_numpy(dtype=float), success])
    found = dict(zip(SCORES, mean_cis(values, images["cluster"].to_numpy(), key), strict=True))
    return {name: exact(value) if name in SHARES else value for name, value in found.items()}


def leak_rank(images: pd.DataFrame, rank: Rank) -> pd.Series[float]:
    """The ranking metric, turned so that the smallest value leaks most."""
    return -direction(rank) * images[rank]


def complete_block(images: pd.DataFrame) -> pd.DataFrame:
    """The images that every attack of this row scored, so that their comparison is paired."""
    if images.empty:
        return images
    attacks = images["entry"].nunique()
    slots = images["slot"].to_numpy(dtype=np.int64)  # an attack has an image once
    complete: pd.DataFrame = images[np.bincount(slots)[slots] == attacks]
    return complete


def worst_case(images: pd.DataFrame, rank: Rank, key: str) -> WorstCase | None:
    """The worst case over the attacks in ``images``; None if no image was scored by all of them.

    Args:
        images: one defense row's images, of all done attacks that see the release.
        rank: the metric that decides.
        key: names the group, see :func:`bench.report.statistics.mean_cis`.
    """
    block = complete_block(images)
    if block.empty:
        return None
    block = block.assign(leak=leak_rank(block, rank))
    ordered = block.sort_values(["slot", "leak", *TIES[rank], *ATTACK], na_position="last", kind="stable")
    best = ordered.drop_duplicates("slot")
    return WorstCase(
        scores=scores(best, key),
        attacks=len(block[ATTACK].drop_duplicates()),
        best=best[_BEST].assign(value=best[rank]).reset_index(drop=True),
    )


def paired(first: pd.DataFrame, second: pd.DataFrame, column: str, key: str) -> Interval:
    """Mean of ``first - second`` in one column over the images that both have, with a paired interval."""
    _, ours, theirs = np.intersect1d(first["slot"], second["slot"], assume_unique=True, return_indices=True)
    values = first[column].to_numpy(dtype=float)[ours], second[column].to_numpy(dtype=float)[theirs]
    found = paired_difference(*values, first["cluster"].to_numpy()[ours], key)
    return exact(found, -1.0) if column in SHARES else found


def strongest_alone(images: pd.DataFrame, rank: Rank) -> pd.DataFrame:
    """The images of the one attack whose mean leaks most; none where no image has the metric."""
    if images.empty or images[rank].isna().all():
        return images.iloc[:0]
    means = images.groupby("entry")[rank].mean()
    best = (direction(rank) * means).idxmax()
    return images[images["entry"] == best]


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
