"""Ranks with ties, the Pareto front, the hypervolume and ratios, each against a case computed otherwise."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics import (
    Interval,
    covered_area,
    mean_ci,
    pareto_front,
    places,
    ratio_ci,
    resampled_means,
    summary_ci,
)


def certain(sign: int) -> Interval:
    """A difference that is certainly positive, certainly negative, or (0) neither."""
    low, high = {1: (0.5, 1.5), -1: (-1.5, -0.5), 0: (-1.0, 1.0)}[sign]
    return Interval(mean=sign, low=low, high=high, n_images=9, n_clusters=9)


def ranked(order: str, ties: set[str]) -> list[tuple[str, str]]:
    """Ranks of competitors that are strictly ordered by their letters, apart from some tied pairs."""

    def difference(i: int, j: int) -> Interval:
        if "".join(sorted(order[i] + order[j])) in ties:
            return certain(0)
        return certain(1 if order[i] < order[j] else -1)

    found = places(len(order), difference)
    return [(found[order.index(name)].rank, found[order.index(name)].letters) for name in sorted(order)]


def test_a_strict_order_has_strict_ranks() -> None:
    assert [rank for rank, _ in ranked("abcd", set())] == ["1", "2", "3", "4"]
    letters = [letters for _, letters in ranked("abcd", set())]
    assert len(set(letters)) == 4


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("abc")])
def test_ties_are_intervals_whatever_the_order(order: str) -> None:
    # b cannot be told from a nor from c, but a is certainly ahead of c.
    found = ranked(order, {"ab", "bc"})
    assert [rank for rank, _ in found] == ["1–2", "1–3", "2–3"]
    a, b, c = (set(letters) for _, letters in found)
    assert a & b and b & c and not a & c and len(b) == 2


def test_all_tied_and_nobody() -> None:
    assert ranked("abc", {"ab", "ac", "bc"}) == [("1–3", "a")] * 3
    assert places(0, lambda i, j: certain(0)) == []
    assert [place.rank for place in places(1, lambda i, j: certain(0))] == ["1"]
    nothing = Interval(0.3, math.nan, math.nan, 1, 1)
    assert [place.rank for place in places(2, lambda i, j: nothing)] == ["1–2", "1–2"]


def test_front_agrees_with_the_definition() -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, 2)).astype(float)
    points[3, 1] = np.nan
    expected = []
    for i, p in enumerate(points):
        rivals = [q for j, q in enumerate(points) if j != i and not np.isnan(q).any()]
        beaten = any((q >= p).all() and (q > p).any() for q in rivals)
        expected.append(not beaten and not np.isnan(p).any())
    assert pareto_front(points).tolist() == expected
    assert pareto_front(np.empty((0, 2))).tolist() == []


def test_area_is_the_staircase() -> None:
    # Nothing up to 1 point, 0.2 from there to 4, 0.5 from there to 10; 0.1 at 6 points is dominated.
    costs, gains = np.array([4.0, 1.0, 6.0, 12.0]), np.array([0.5, 0.2, 0.1, 0.9])
    assert covered_area(costs, gains, 10.0) == pytest.approx((3 * 0.2 + 6 * 0.5) / 10)
    assert covered_area(np.array([-0.5]), np.array([0.3]), 10.0) == pytest.approx(0.3)
    assert covered_area(np.array([0.0]), np.array([-0.3]), 10.0) == 0.0


def test_area_agrees_with_counting() -> None:
    generator = np.random.default_rng(1)
    costs, gains = generator.uniform(-1, 12, 7), generator.uniform(0, 1, (3, 7))
    budgets = (np.arange(100_000) + 0.5) / 10_000
    for i, drawn in enumerate(covered_area(costs, gains, 10.0)):
        best = [gains[i][costs <= budget].max(initial=0.0) for budget in budgets[::50]]
        assert drawn == pytest.approx(np.mean(best), abs=2e-3)


def test_ratio_agrees_with_scipy() -> None:
    generator = np.random.default_rng(2)
    below = generator.uniform(0.5, 1.5, 80)
    above = 0.4 * below + generator.normal(0, 0.1, 80)
    reference = stats.bootstrap(
        (above, below),
        lambda x, y, axis=-1: x.mean(axis=axis) / y.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    ours = ratio_ci(above, below, np.arange(80), "k")
    width = reference.high - reference.low
    assert ours.mean == pytest.approx(above.mean() / below.mean())
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.06 * width)


def test_ratio_guards() -> None:
    nan = math.nan
    some = ratio_ci(np.array([1.0, nan, 3.0]), np.array([2.0, 1.0, 2.0]), np.array([0, 1, 2]), "k")
    assert (some.mean, some.n_images, some.n_missing) == (1.0, 2, 1)
    none = ratio_ci(np.array([nan]), np.array([1.0]), np.array([0]), "k")
    assert math.isnan(none.mean) and none.n_missing == 1
    one = ratio_ci(np.array([1.0, 2.0]), np.array([2.0, 2.0]), np.array([4, 4]), "k")
    assert one.mean == 0.75 and math.isnan(one.low)
    own = ratio_ci(np.full(9, 0.3), np.full(9, 0.3), np.arange(9), "k")
    assert (own.mean, own.low, own.high) == (1.0, 1.0, 1.0)


def test_resamples_are_those_of_the_intervals() -> None:
    values = np.random.default_rng(4).normal(size=(50, 2))
    clusters = np.arange(50) // 2
    drawn = resampled_means(values, clusters, "k")
    for i in range(2):
        ours = summary_ci(float(values[:, i].mean()), drawn[:, i], 25, 50)
        expected = mean_ci(values[:, i], clusters, "k")
        assert (ours.mean, ours.low, ours.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert math.isnan(summary_ci(1.0, np.ones(5), 1, 9).low)
