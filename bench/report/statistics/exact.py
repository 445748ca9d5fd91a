"""Exact intervals of shares that are constant in a sample, where a bootstrap sees no spread at all."""

from __future__ import annotations

from dataclasses import replace

from bench.report.statistics.bootstrap import CONFIDENCE, Interval


def exact(value: Interval, least: float = 0.0, most: float = 1.0) -> Interval:
    """Clopper and Pearson's ends for a constant sample; any other interval stays as it is.

    A share of 0 of n clusters is 0, and so is that of every resample, which proves nothing: were the true
    share u = 1 - 0.025 ** (1 / n), n clusters would still show none in 2.5 % of all samples. So up to u of
    the clusters may have another value than the one that was seen, anything from ``least`` to ``most``.

    Args:
        value: of a share, or of a difference of two shares.
        least: the smallest value that an image can have: 0 of a share, -1 of a difference.
        most: the largest.
    """
    if value.low != value.high:  # also where there is no interval
        return value
    unseen = 1 - ((1 - CONFIDENCE) / 2) ** (1 / value.n_clusters)
    low = value.mean - unseen * (value.mean - least)
    return replace(value, low=low, high=value.mean + unseen * (most - value.mean))
