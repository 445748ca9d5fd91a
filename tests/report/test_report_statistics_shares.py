"""Intervals of shares cover what they promise, where seeds agree with themselves and events are rare."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics import binomial, drop_interval, share_interval, student

SEEDS = np.repeat(np.arange(5), 15)
RELEASES = np.arange(75)
CORRELATION = 0.1
RUNS = 400


def rates(generator: np.random.Generator, share: float) -> np.ndarray:
    """The true share of each seed: seeds differ, so that two releases of one are correlated."""
    scale = 1 / CORRELATION - 1
    return generator.beta(share * scale, (1 - share) * scale, 5)[SEEDS]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_the_interval_of_a_share_covers_it(share: float) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(RUNS):
        hits = (generator.random(75) < rates(generator, share)).astype(float)
        found = share_interval(hits, RELEASES, SEEDS)
        covered += found.low <= share <= found.high
    assert covered / RUNS >= 0.92


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_the_interval_of_a_drop_covers_it(kept: float) -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(RUNS):
        before = generator.random(75) < 0.9
        after = before & (generator.random(75) < rates(generator, kept))
        found = drop_interval(before.astype(float), after.astype(float), RELEASES, SEEDS)
        covered += found.low <= 0.9 * (1 - kept) <= found.high
    assert covered / RUNS >= 0.92


@pytest.mark.parametrize("hits", [0, 1, 7, 74, 75])
def test_the_binomial_limits_are_scipys(hits: int) -> None:
    expected = stats.binomtest(hits, 75).proportion_ci(0.95, "exact")
    assert binomial(hits / 75, 75) == pytest.approx((expected.low, expected.high))


def test_the_t_limits_are_scipys() -> None:
    values = np.array([0.2, 0.4, 0.3, 0.9, 0.1])
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert student(values) == pytest.approx(expected)
    assert np.isnan(student(values[:1])).all()


def test_at_each_end_the_farther_limit_counts() -> None:
    one_seed = (SEEDS == 0).astype(float)
    found = share_interval(one_seed, RELEASES, SEEDS)
    assert found.mean == pytest.approx(0.2) and found.low == 0.0, "seeds that disagree say little"
    assert found.high == pytest.approx(student(np.array([1.0, 0, 0, 0, 0]))[1])
    alike = share_interval(np.tile([1.0, 0.0, 0.0], 25), RELEASES, SEEDS)
    assert (alike.low, alike.high) == pytest.approx(binomial(1 / 3, 75)), "seeds that agree prove nothing"


def test_images_of_one_release_count_once() -> None:
    hits = np.repeat([1.0, 0.0], 60)
    wide = share_interval(hits, np.repeat(np.arange(30), 4), np.zeros(120))
    assert wide.n_clusters == 30 and (wide.low, wide.high) == pytest.approx(binomial(0.5, 30))


def test_what_is_missing_is_no_zero() -> None:
    hits = np.array([1.0, np.nan, 1.0])
    found = share_interval(hits, np.arange(3), np.arange(3))
    assert (found.mean, found.n_images, found.n_missing) == (1.0, 2, 1)
    nothing = drop_interval(np.array([np.nan]), np.array([1.0]), np.arange(1), np.arange(1))
    assert np.isnan(nothing.mean) and nothing.n_missing == 1
