"""Restarts and chunks: who is tried again, with what, and what is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.api import GradientObservation
from bench.engine import Optimum, search
from bench.engine.memory import AT_ONCE
from tests.engine.observations import batches, observation


@pytest.fixture(scope="module")
def seen() -> GradientObservation:
    return observation("lenet", *batches(4, 1))


class Scripted:
    """An attempt whose costs are written down: ``costs[restart][victim id]``, ``price`` evaluations each."""

    def __init__(self, costs: list[list[float]], price: int) -> None:
        self.costs, self.price = costs, price
        self.calls: list[tuple[int, list[int], list[int]]] = []

    def __call__(self, seen: GradientObservation, restart: int, budget: Tensor) -> Optimum:
        ids = seen.ids.tolist()
        self.calls.append((restart, ids, budget.tolist()))
        return Optimum(
            torch.tensor([[100.0 * restart + i] for i in ids]),
            torch.tensor([self.costs[restart][i] for i in ids]),
            budget.clamp_max(self.price),
        )


def failed(cost: Tensor) -> Tensor:
    return cost > 0.5


def test_only_failed_victims_start_again_and_the_cheapest_attempt_is_kept(seen: GradientObservation) -> None:
    attempt = Scripted([[0.1, 0.9, 0.8, 0.7], [9, 0.2, 0.9, 0.6], [9, 9, 0.95, 0.1]], price=10)
    found = search(seen, attempt, budget=100, failed=failed, restarts=2)
    assert attempt.calls == [
        (0, [0, 1, 2, 3], [100] * 4),
        (1, [1, 2, 3], [90] * 3),
        (2, [2, 3], [80] * 2),
    ]
    assert found.point[:, 0].tolist() == [0, 101, 2, 203]
    torch.testing.assert_close(found.cost, torch.tensor([0.1, 0.2, 0.8, 0.1]))
    assert found.evaluations.tolist() == [10, 20, 30, 30]


@pytest.mark.parametrize(("budget", "attempts"), [(100, 4), (60, 3), (45, 2), (20, 1)])
def test_attempts_share_one_budget(seen: GradientObservation, budget: int, attempts: int) -> None:
    """Each costs 20; another is worth it while a fifth of the budget is left, and three are allowed."""
    attempt = Scripted([[1.0] * 4] * 5, price=20)
    found = search(seen, attempt, budget=budget, failed=failed, restarts=3, reserve=0.2)
    assert len(attempt.calls) == attempts
    assert found.evaluations.tolist() == [20 * attempts] * 4
    assert (found.evaluations <= budget).all()


def test_no_restart_is_made_where_none_is_allowed(seen: GradientObservation) -> None:
    attempt = Scripted([[1.0] * 4], price=1)
    search(seen, attempt, budget=100, failed=failed, restarts=0)
    assert [call[0] for call in attempt.calls] == [0]


def test_a_non_finite_cost_counts_as_failed_and_loses_to_any_other(seen: GradientObservation) -> None:
    attempt = Scripted([[torch.nan, torch.inf, 0.1, torch.nan], [0.9, 0.9, 9, torch.nan]], price=10)
    found = search(seen, attempt, budget=30, failed=lambda cost: cost > torch.inf, restarts=1)
    assert attempt.calls[1][1] == [0, 1, 3]
    assert found.point[:, 0].tolist() == [100, 101, 2, 3]
    assert found.cost[3].isnan()


def test_victims_beyond_a_chunk_keep_their_order() -> None:
    one = observation("lenet", *batches(1, 1))
    many = one.select(torch.zeros(2 * AT_ONCE + 5, dtype=torch.long))
    many.ids.copy_(torch.arange(many.victims))
    attempt = Scripted([[0.0] * many.victims], price=1)
    found = search(many, attempt, budget=5, failed=failed, restarts=1)
    assert [len(ids) for _, ids, _ in attempt.calls] == [AT_ONCE, AT_ONCE, 5]
    assert found.point[:, 0].tolist() == list(range(many.victims))
