"""The evolution strategy: it finds minima, keeps to its budget, and victims share nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest
import torch
from torch import Tensor

from bench.engine import EvolutionStrategy
from bench.engine.minimisers.optimum import Optimum

CENTRES = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 0.3, -1.0, 2.0], [-1.5, 0.0, 0.0, 0.7]])
SCALES = torch.tensor([1.0, 10.0, 3.0, 0.5])


def bowls(centres: Tensor, calls: list[int] | None = None) -> Callable[[Tensor], Tensor]:
    """A bowl per victim, of other curvature along each axis."""

    def costs(points: Tensor) -> Tensor:
        if calls is not None:
            calls.append(points.shape[1])
        return ((points - centres.unsqueeze(1)).square() * SCALES).sum(2)

    return costs


def evolve(victims: list[int], *, seed: int = 0, evaluations: int = 300, population: int = 12) -> Optimum:
    return EvolutionStrategy(population=population).minimise(
        bowls(CENTRES[victims]), torch.zeros(len(victims), 4), ids=victims, seed=seed, evaluations=evaluations
    )


def test_every_victim_comes_to_its_own_minimum() -> None:
    found = evolve([0, 1, 2], evaluations=900)
    torch.testing.assert_close(found.point, CENTRES, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.cost, bowls(CENTRES)(found.point.unsqueeze(1))[:, 0])


def test_neighbours_and_order_change_nothing() -> None:
    together, turned, alone = evolve([0, 1, 2]), evolve([2, 0]), evolve([2])
    assert torch.equal(together.point[[2, 0]], turned.point)
    assert torch.equal(together.point[2], alone.point[0])


def test_the_seed_is_the_only_source_of_randomness() -> None:
    numpy.random.seed(3)
    untouched = numpy.random.rand()
    numpy.random.seed(3)
    first = evolve([0, 1])
    assert numpy.random.rand() == untouched
    numpy.random.seed(4)
    assert torch.equal(evolve([0, 1]).point, first.point)
    assert not torch.equal(evolve([0, 1], seed=1).point, first.point)


@pytest.mark.parametrize("evaluations", [1, 12, 40])
def test_the_budget_is_spent_to_the_last_candidate(evaluations: int) -> None:
    calls: list[int] = []
    found = EvolutionStrategy(population=12).minimise(
        bowls(CENTRES, calls), torch.zeros(3, 4), ids=range(3), seed=0, evaluations=evaluations
    )
    assert sum(calls) == evaluations and found.evaluations.tolist() == [evaluations] * 3


def test_costs_without_a_value_count_as_worst() -> None:
    def half(points: Tensor) -> Tensor:
        return torch.where(points[..., 0] < 0, torch.nan, bowls(CENTRES)(points))

    found = EvolutionStrategy(population=12).minimise(
        half, torch.ones(3, 4), ids=range(3), seed=0, evaluations=600
    )
    assert (found.point[:, 0] >= 0).all()
    torch.testing.assert_close(
        found.point, CENTRES.clamp(min=torch.tensor([0.0, -9, -9, -9])), atol=0.1, rtol=0
    )


def test_without_any_value_the_start_stands() -> None:
    start = torch.ones(2, 4)
    found = EvolutionStrategy(population=6).minimise(
        lambda points: points.sum(2) * torch.nan, start, ids=[0, 1], seed=0, evaluations=20
    )
    assert torch.equal(found.point, start) and found.cost.isinf().all()
