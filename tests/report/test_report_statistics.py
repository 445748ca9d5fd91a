"""The bootstrap against SciPy's and against cases that a hand can compute."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import binomtest

from bench.report.statistics import (
    NOTHING,
    RESAMPLES,
    Interval,
    certainly_positive,
    exact,
    mean_ci,
    mean_cis,
    paired_difference,
)


def ratio(sums: NDArray[Any], counts: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """The mean over images from the totals of clusters."""
    return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))


@pytest.mark.parametrize(
    "sizes", [[1] * 60, [4] * 40, list(range(1, 31))], ids=["single", "equal", "unequal"]
)
def test_interval_agrees_with_scipy_bootstrap(sizes: list[int]) -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    values = generator.normal(size=len(sizes))[clusters] + 0.3 * generator.normal(size=len(clusters))
    sums = np.bincount(clusters, weights=values)
    reference = stats.bootstrap(
        (sums, np.array(sizes, dtype=float)),
        ratio,
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = mean_ci(values, clusters, "key")
    width = reference.high - reference.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(reference.low, abs=0.06 * width)
    assert ours.high == pytest.approx(reference.high, abs=0.06 * width)


def test_whole_clusters_are_resampled() -> None:
    # Two clusters of equal images: a resample is all 0 (1/4), all 1 (1/4) or their mean.
    result = mean_ci(np.repeat([0.0, 1.0], 50), np.repeat([0, 1], 50), "two")
    assert result == Interval(mean=0.5, low=0.0, high=1.0, n_images=100, n_clusters=2)


def test_clusters_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(3).normal(size=12), 8)
    clustered = mean_ci(values, np.repeat(np.arange(12), 8), "k")
    pretending = mean_ci(values, np.arange(96), "k")
    assert clustered.high - clustered.low > 2 * (pretending.high - pretending.low)


def test_a_missing_value_is_counted_and_never_a_zero() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf])
    result = mean_ci(values, np.array([0, 0, 1, 2]), "k")
    assert (result.mean, result.n_images, result.n_clusters, result.n_missing) == (2.0, 2, 2, 2)
    assert 1.0 <= result.low <= result.high <= 3.0


def test_guards() -> None:
    one = mean_ci(np.array([1.0, 2.0]), np.array([5, 5]), "k")
    assert (one.mean, one.n_clusters) == (1.5, 1)
    assert math.isnan(one.low) and math.isnan(one.high)
    constant = mean_ci(np.full(30, 0.1), np.arange(30), "k")
    assert (constant.mean, constant.low, constant.high) == (0.1, 0.1, 0.1)
    nothing = mean_ci(np.full(3, np.nan), np.arange(3), "k")
    assert math.isnan(nothing.mean) and (nothing.n_images, nothing.n_missing) == (0, 3)
    assert mean_ci(np.empty(0), np.empty(0), "k").n_images == 0


def test_order_does_not_matter_and_the_key_does() -> None:
    generator = np.random.default_rng(4)
    values, clusters = generator.normal(size=200), generator.integers(0, 40, 200)
    order = generator.permutation(200)
    assert mean_ci(values, clusters, "a") == mean_ci(values[order], clusters[order], "a")
    assert mean_ci(values, clusters, "a") != mean_ci(values, clusters, "b")


def test_columns_are_independent() -> None:
    values = np.random.default_rng(5).normal(size=(60, 2))
    values[:7, 1] = np.nan
    clusters = np.arange(60) // 3
    for i, together in enumerate(mean_cis(values, clusters, "k")):
        alone = mean_ci(values[:, i], clusters, "k")
        assert (together.mean, together.low, together.high) == pytest.approx(
            (alone.mean, alone.low, alone.high)
        )
        assert (together.n_images, together.n_missing) == (alone.n_images, alone.n_missing)


def test_paired_difference_sees_what_two_intervals_hide() -> None:
    generator = np.random.default_rng(6)
    image = generator.normal(0, 1, 90)
    better, worse = image + 0.1 + generator.normal(0, 0.05, 90), image
    clusters = np.arange(90)
    apart = mean_ci(better, clusters, "k").low > mean_ci(worse, clusters, "k").high
    difference = paired_difference(better, worse, clusters, "k")
    assert not apart and certainly_positive(difference)
    reverse = paired_difference(worse, better, clusters, "k")
    assert (reverse.mean, reverse.low) == pytest.approx((-difference.mean, -difference.high))


def test_nothing_is_certain_without_an_interval() -> None:
    assert not certainly_positive(paired_difference(np.ones(4), np.zeros(4), np.zeros(4, dtype=int), "k"))
    assert RESAMPLES == 2_000


@pytest.mark.parametrize("clusters", [2, 10, 33, 500])
@pytest.mark.parametrize("share", [0, 1])
def test_a_share_that_never_varies_has_the_exact_binomial_interval(clusters: int, share: int) -> None:
    values = np.full(2 * clusters, float(share))
    found = exact(mean_ci(values, np.repeat(np.arange(clusters), 2), "k"))
    reference = binomtest(share * clusters, clusters).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert found.mean == share and found.low < found.high


def test_constant_differences_of_shares_are_not_certain() -> None:
    same = exact(paired_difference(np.ones(33), np.ones(33), np.arange(33), "k"), -1.0)
    assert same.mean == 0 and same.low == -same.high == pytest.approx(-0.1058, abs=1e-4)
    assert not certainly_positive(same)
    every = exact(paired_difference(np.ones(33), np.zeros(33), np.arange(33), "k"), -1.0)
    assert (every.mean, every.high) == (1.0, 1.0) and every.low == pytest.approx(1 - 2 * same.high)
    few = exact(paired_difference(np.ones(2), np.zeros(2), np.arange(2), "k"), -1.0)
    assert not certainly_positive(few), "two clusters prove nothing, though both agree"


def test_what_varies_or_has_no_interval_stays_as_it_is() -> None:
    varied = mean_ci(np.array([0.0, 1.0, 1.0]), np.arange(3), "k")
    assert exact(varied) == varied and exact(NOTHING) is NOTHING
    alone = mean_ci(np.ones(3), np.zeros(3), "k")
    assert exact(alone) is alone and math.isnan(exact(alone).low)
