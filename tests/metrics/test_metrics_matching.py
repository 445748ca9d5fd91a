"""The assignment, its direction first of all."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics import assign, mse
from bench.metrics.distances import squared_distances


def _total(cost: torch.Tensor, order: list[int]) -> float:
    return sum(float(cost[i, j]) for i, j in enumerate(order))


def test_a_three_cycle_is_undone_in_the_right_direction() -> None:
    # A 3-cycle is the smallest permutation that is not its own inverse: a swapped direction fails here.
    originals = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    reconstructions = originals[[1, 2, 0]]
    order = assign(squared_distances(originals.flatten(1), reconstructions.flatten(1)))
    assert order == [2, 0, 1]
    assert mse(originals, reconstructions[order]).tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(order=st.integers(1, 9).flatmap(lambda n: st.permutations(range(n))), seed=st.integers(0, 2**31))
def test_every_permutation_is_undone(order: list[int], seed: int) -> None:
    points = torch.rand(len(order), 5, generator=torch.Generator().manual_seed(seed))
    shuffled = points[order]
    assert torch.equal(shuffled[assign(squared_distances(points, shuffled))], points)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_cheapest_by_brute_force(size: int, seed: int) -> None:
    cost = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    best = min(_total(cost, list(order)) for order in permutations(range(size)))
    order = assign(cost)
    assert sorted(order) == list(range(size))
    assert _total(cost, order) == pytest.approx(best)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_costs_are_the_last_resort(bad: float) -> None:
    # Taking [0, 0] would be best; one bad entry makes the dear but finite diagonal the only choice.
    cost = torch.tensor([[100.0, 0.0], [bad, 100.0]])
    assert assign(cost) == [0, 1]


def test_a_broken_reconstruction_leaves_the_others_matched() -> None:
    cost = torch.tensor([[torch.nan, 0.9, 0.1], [torch.nan, 0.2, 0.8], [torch.nan, 0.7, 0.6]])
    assert assign(cost) == [2, 1, 0]
    assert assign(torch.full((3, 3), torch.nan)) == [0, 1, 2]


def test_only_square_costs() -> None:
    with pytest.raises(ValueError, match="square"):
        assign(torch.zeros(2, 3))
