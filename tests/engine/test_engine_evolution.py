"""The evolution strategy: it finds minima, keeps to its budget, and victims share nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy
import pytest
import torch
from torch import Tensor

from bench.engine import EvolutionStrategy
from bench.engine.minimisers.contract import BatchedObjective, Optimum

CENTRES = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 0.3, -1.0, 2.0], [-1.5, 0.0, 0.0, 0.7]])
SCALES = torch.tensor([1.0, 10.0, 3.0, 0.5])
Function = Callable[[Tensor, Tensor], Tensor]
"""``(points [N, D], victims [N]) -> costs [N]``."""


def bowls(points: Tensor, victims: Tensor) -> Tensor:
    """A bowl per victim, of other curvature along each axis."""
    return ((points - CENTRES[victims]).square() * SCALES).sum(1)


@dataclass
class Costs(BatchedObjective):
    """Costs of some victims, without gradients."""

    ids: Tensor
    function: Function = bowls
    guiding: None = None

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        raise AssertionError("an evolution strategy needs no gradients")

    def costs(self, point: Tensor, /) -> Tensor:
        return self.function(point, self.ids)

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.ids[rows], self.function)


def evolve(
    victims: list[int],
    *,
    start: float = 0.0,
    seed: int = 0,
    evaluations: int = 300,
    population: int = 12,
    rows: int = 1000,
    function: Function = bowls,
) -> Optimum:
    strategy = EvolutionStrategy(population=population, seed=seed, rows=rows)
    return strategy.minimise(
        Costs(torch.tensor(victims), function),
        torch.full((len(victims), 4), start),
        evaluations=torch.full((len(victims),), evaluations),
    )


def test_every_victim_comes_to_its_own_minimum() -> None:
    found = evolve([0, 1, 2], evaluations=900)
    torch.testing.assert_close(found.point, CENTRES, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.cost, bowls(found.point, torch.arange(3)))


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

    def counted(points: Tensor, victims: Tensor) -> Tensor:
        calls.append(len(points))
        return bowls(points, victims)

    found = evolve([0, 1, 2], evaluations=evaluations, rows=10, function=counted)
    assert sum(calls) == 3 * evaluations and max(calls) <= 10
    assert found.evaluations.tolist() == [evaluations] * 3


def test_costs_without_a_value_count_as_worst() -> None:
    def half(points: Tensor, victims: Tensor) -> Tensor:
        return torch.where(points[:, 0] < 0, torch.nan, bowls(points, victims))

    found = evolve([0, 1, 2], start=1.0, evaluations=600, function=half)
    assert (found.point[:, 0] >= 0).all()
    torch.testing.assert_close(
        found.point, CENTRES.clamp(min=torch.tensor([0.0, -9, -9, -9])), atol=0.1, rtol=0
    )


def test_without_any_value_the_start_stands() -> None:
    found = evolve(
        [0, 1], start=1.0, evaluations=20, population=6, function=lambda points, _: points.sum(1) * torch.nan
    )
    assert torch.equal(found.point, torch.ones(2, 4)) and found.cost.isinf().all()
