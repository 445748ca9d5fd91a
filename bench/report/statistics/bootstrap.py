"""Means with 95 % percentile intervals from a bootstrap over clusters.

The images of one release are not independent, so whole clusters (release x seed) are resampled, not images.
Only the sum and the count of each cluster matter to a mean: a resample is a vector of multiplicities, and all
resamples of all metrics are two matrix products.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its uncertainty.

    Attributes:
        mean: over the images that have a value; NaN if none has.
        low: lower end of the 95 % interval; NaN with fewer than two clusters.
        high: upper end.
        n_images: images with a value.
        n_clusters: clusters with at least one such image.
        n_missing: images without a value (a diverged reconstruction, a metric that could not be had).
    """

    mean: float
    low: float
    high: float
    n_images: int
    n_clusters: int
    n_missing: int = 0


NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0, 0)
"""The interval of no images at all."""


@lru_cache(maxsize=32)
def _multiplicities(key: str, clusters: int) -> Floats:
    """``[RESAMPLES, clusters]``: how often each resample draws each cluster; a function of its arguments."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    generator = np.random.Generator(np.random.PCG64(seed))
    draws = generator.integers(0, clusters, size=(RESAMPLES, clusters))
    flat = draws + clusters * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(flat.ravel(), minlength=RESAMPLES * clusters)
    return counts.reshape(RESAMPLES, clusters).astype(np.float64)


def _cluster_totals(values: Floats, clusters: NDArray[Any]) -> tuple[Floats, Floats]:
    """Sums and counts of the finite values, ``[clusters, metrics]``, whatever the order of the images."""
    _, index = np.unique(clusters, return_inverse=True)
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    order = np.lexsort((*filled.T, index))
    shape = (int(index.max()) + 1, values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, index[order], filled[order])
    np.add.at(counts, index[order], finite[order].astype(np.float64))
    return sums, counts


def mean_cis(values: Floats, clusters: NDArray[Any], key: str) -> list[Interval]:
    """One interval per column; all columns share the resamples.

    Args:
        values: ``[images, metrics]``; a value that is not finite is missing: counted, never a zero.
        clusters: ``[images]``, which cluster each image belongs to.
        key: names the comparison; the same key and number of clusters give the same resamples.
    """
    if not len(values):
        return [NOTHING] * values.shape[1]
    sums, counts = _cluster_totals(values, clusters)
    drawn = _multiplicities(key, len(sums))
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (drawn @ sums) / (drawn @ counts)
    ends = _ends(resampled)
    return [_interval(values[:, i], sums[:, i], counts[:, i], ends[:, i]) for i in range(values.shape[1])]


def _ends(resampled: Floats) -> Floats:
    """``[2, columns]``: both ends of the interval over the resamples that have a value."""
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    known = np.isfinite(resampled)
    if known.all():
        return np.asarray(np.quantile(resampled, tails, axis=0))
    ends = np.full((2, resampled.shape[1]), np.nan)
    for i in range(resampled.shape[1]):
        if known[:, i].any():
            ends[:, i] = np.quantile(resampled[known[:, i], i], tails)
    return ends


def _interval(values: Floats, sums: Floats, counts: Floats, ends: Floats) -> Interval:
    images, clusters = int(counts.sum()), int((counts > 0).sum())
    missing = len(values) - images
    if not images:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0, missing)
    finite = values[np.isfinite(values)]
    constant = bool(finite.min() == finite.max())
    mean = float(finite[0]) if constant else float(sums.sum() / images)
    if clusters < 2:
        low = high = float("nan")
    else:
        low, high = (mean, mean) if constant else (float(end) for end in ends)
    return Interval(mean, low, high, images, clusters, missing)


def mean_ci(values: Floats, clusters: NDArray[Any], key: str) -> Interval:
    """The mean of ``values`` with its interval; see :func:`mean_cis`."""
    return mean_cis(np.asarray(values, dtype=np.float64)[:, None], clusters, key)[0]


def paired_difference(first: Floats, second: Floats, clusters: NDArray[Any], key: str) -> Interval:
    """The mean of ``first - second`` on the same images: an image that either lacks is missing.

    Args:
        first: ``[images]``.
        second: ``[images]``, the same images in the same order.
        clusters: ``[images]``.
        key: see :func:`mean_cis`.
    """
    return mean_ci(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), clusters, key)


def certainly_positive(difference: Interval) -> bool:
    """Whether the whole interval lies above zero; without an interval nothing is certain."""
    return difference.low > 0


def ratio_ci(numerators: Floats, denominators: Floats, clusters: NDArray[Any], key: str) -> Interval:
    """The ratio of two means on the same images, both resampled together.

    Args:
        numerators: ``[images]``; an image that lacks either value is missing.
        denominators: ``[images]``.
        clusters: ``[images]``.
        key: see :func:`mean_cis`.
    """
    known = np.isfinite(numerators) & np.isfinite(denominators)
    missing = int(len(known) - known.sum())
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0, missing)
    pair = np.column_stack([numerators, denominators])[known]
    sums, _ = _cluster_totals(pair, clusters[known])
    drawn = _multiplicities(key, len(sums)) @ sums
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return summary_ci(
            float(total[0] / total[1]), drawn[:, 0] / drawn[:, 1], len(sums), len(pair), missing
        )


def resampled_means(values: Floats, clusters: NDArray[Any], key: str) -> Floats:
    """``[RESAMPLES, columns]``: the resamples themselves, for statistics of several means at once.

    Args:
        values: ``[images, columns]``, all finite.
        clusters: ``[images]``.
        key: see :func:`mean_cis`.
    """
    sums, counts = _cluster_totals(values, clusters)
    drawn = _multiplicities(key, len(sums))
    return np.asarray((drawn @ sums) / (drawn @ counts))


def summary_ci(value: float, resampled: Floats, clusters: int, images: int, missing: int = 0) -> Interval:
    """A statistic with the percentile interval of its resamples; none with fewer than two clusters."""
    low, high = (float(end) for end in _ends(resampled[:, None])[:, 0])
    if clusters < 2:
        low = high = float("nan")
    return Interval(value, low, high, images, clusters, missing)
