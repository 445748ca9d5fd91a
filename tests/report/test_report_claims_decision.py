"""How many releases decide a claim, by the exact binomial limits of scipy."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from bench.report.claims.decision import decide, reason, releases_needed, size
from bench.report.claims.measured import Found
from bench.report.statistics import NOTHING, Interval, share_interval

LEAST, MOST = (0.95, math.inf), (-math.inf, 0.05)


def measured(hits: list[float], seeds: int = 1, plain: float = 1.0) -> Found:
    """A share with one image in each release, split evenly over the seeds; undefended all alike."""
    values, numbers = np.array(hits, dtype=float), np.arange(len(hits))
    by = numbers % seeds
    found = share_interval(values, numbers, by), share_interval(np.full(len(hits), plain), numbers, by)
    means = tuple(float(values[by == seed].mean()) for seed in range(seeds))
    return Found(where="", value=found[0], seeds=means, undefended=found[1])


def exact(hits: int, count: int) -> tuple[float, float]:
    found = stats.binomtest(hits, count).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def test_95_per_cent_takes_72_releases() -> None:
    assert releases_needed(1.0, LEAST) == releases_needed(0.0, MOST) == 72
    assert exact(72, 72)[0] >= 0.95 > exact(71, 71)[0]
    assert math.ceil(math.log(0.025) / math.log(0.95)) == 72


@pytest.mark.parametrize(("share", "bound"), [*product([0.0, 0.25, 0.5, 1.0], [0.1, 0.4, 0.7])])
def test_the_smallest_size_decides_and_one_less_does_not(share: float, bound: float) -> None:
    needed = releases_needed(share, (bound, math.inf))
    assert needed is not None

    def side(count: int) -> bool:
        low, high = (
            0.0 if share == 0 else stats.beta.ppf(0.025, share * count, count - share * count + 1),
            1.0 if share == 1 else stats.beta.ppf(0.975, share * count + 1, count - share * count),
        )
        return bool(low >= bound if share >= bound else high < bound)

    assert side(needed) and (needed == 1 or not side(needed - 1))


@pytest.mark.parametrize(("hits", "count"), [(33, 33), (10, 33), (5, 5)])
def test_a_small_sample_refutes(hits: int, count: int) -> None:
    found = [measured([1.0] * hits + [0.0] * (count - hits))]
    assert exact(hits, count)[0] > 0.05
    assert decide(found, MOST, protection=True) == "not reproduced"


@pytest.mark.parametrize(("count", "word"), [(33, "undecided"), (71, "undecided"), (72, "reproduced")])
def test_a_small_sample_reproduces_nothing(count: int, word: str) -> None:
    assert decide([measured([1.0] * count)], LEAST, protection=False) == word
    assert decide([measured([0.0] * count)], MOST, protection=True) == word


def test_seeds_that_differ_leave_a_claim_open() -> None:
    """60 of 75 is far above half by the binomial, but one of the five networks gives away nothing."""
    hits = [float(number % 5 > 0) for number in range(75)]
    apart, alike = measured(hits, seeds=5), measured(sorted(hits), seeds=5)
    bounds = (0.6, math.inf)
    assert decide([alike], bounds, protection=False) == "reproduced"
    assert decide([apart], bounds, protection=False) == "undecided"
    needed = size(apart.value, apart.seeds, bounds)
    assert needed is not None and needed[1] > 5 and needed[0] == 15 * needed[1]

    def low(seeds: int) -> float:
        return 0.8 - float(stats.t.ppf(0.975, seeds - 1) * np.std(apart.seeds, ddof=1) / math.sqrt(seeds))

    assert low(needed[1]) >= 0.6 > low(needed[1] - 1)
    assert f"{needed[0]} releases of {needed[1]} seeds" in reason(
        [apart], bounds, "undecided", protection=False
    )


@pytest.mark.parametrize(
    ("mean", "reach", "word"),
    [
        (7.5, 1.0, "reproduced"),
        (5.5, 1.0, "undecided"),
        (9.5, 1.0, "undecided"),
        (3.0, 1.0, "not reproduced"),
        (12.0, 1.0, "not reproduced"),
        (7.5, 4.0, "undecided"),
    ],
)
def test_a_range_is_tested_at_both_ends(mean: float, reach: float, word: str) -> None:
    found = [Found(where="", value=Interval(mean, mean - reach, mean + reach, 40, 40))]
    assert decide(found, (5.0, 10.0), protection=False) == word
    text = reason(found, (5.0, 10.0), decide(found, (5.0, 10.0), protection=False), protection=False)
    assert ("above" in text) is (mean > 11) and ("below" in text) is (mean < 4)
    if word == "undecided":
        needed = size(found[0].value, (), (5.0, 10.0))
        assert needed is not None
        near = min(mean - 5, 10 - mean)
        assert needed == (math.ceil(40 * (reach / near) ** 2 - 1e-9), 0)


def test_one_number_outside_refutes_and_all_must_lie_inside() -> None:
    inside, outside, open_ = measured([1.0] * 80), measured([0.0] * 10), measured([1.0] * 40)
    assert decide([inside, inside], LEAST, protection=False) == "reproduced"
    assert decide([inside, open_], LEAST, protection=False) == "undecided"
    assert decide([inside, open_, outside], LEAST, protection=False) == "not reproduced"


def test_an_attack_that_fails_anyway_reproduces_no_protection() -> None:
    broken = measured([0.0] * 80, plain=0.0)
    assert decide([broken], MOST, protection=True) == "undecided"
    assert decide([broken], MOST, protection=False) == "reproduced"
    assert "defense" in reason([broken], MOST, "undecided", protection=True)


def test_what_no_size_decides_is_said() -> None:
    everything = measured([1.0] * 72)
    assert size(everything.value, everything.seeds, (1.0, math.inf)) is None
    assert "more than 100,000" in reason([everything], (1.0, math.inf), "undecided", protection=False)
    lonely = Found(where="", value=Interval(0.5, math.nan, math.nan, 1, 1))
    assert decide([lonely], LEAST, protection=False) == "undecided"
    assert "no interval" in reason([lonely], LEAST, "undecided", protection=False)
    nothing = Found(where="", value=NOTHING)
    assert decide([everything, nothing], LEAST, protection=False) == "undecided"
    assert "missing" in reason([everything, nothing], LEAST, "undecided", protection=False)
