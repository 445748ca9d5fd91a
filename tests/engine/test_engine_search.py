"""Restarts and chunks: which rows are tried again, with what, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import pytest
import torch
from torch import Tensor

from bench.engine import Chunks, Optimum, Restarts
from bench.engine.minimisers.contract import BatchedObjective, Project


@dataclass(frozen=True)
class Numbered(BatchedObjective):
    """Rows that know their numbers, and which attempt they are in."""

    rows: Tensor
    turn: int = 0

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        raise AssertionError("what is scripted evaluates nothing")

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.rows[rows], self.turn)

    def attempt(self, number: int) -> Self:
        return type(self)(self.rows, number)


@dataclass
class Scripted:
    """A minimiser whose costs are written down: ``costs[attempt][row]``, ``price`` evaluations each."""

    costs: list[list[float]]
    price: int
    calls: list[tuple[int, list[int], list[int]]] = field(default_factory=list)

    def minimise(
        self, objective: Numbered, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        rows, turn = objective.rows.tolist(), objective.turn
        assert start[:, 0].tolist() == [100.0 * turn + row for row in rows]
        self.calls.append((turn, rows, evaluations.tolist()))
        cost = torch.tensor([self.costs[turn][row] for row in rows])
        return Optimum(start, cost, evaluations.clamp_max(self.price))


def run(search: Restarts[Numbered] | Chunks[Numbered], rows: int, *, budget: int, attempts: int) -> Optimum:
    start = 100.0 * torch.arange(attempts)[None, :, None] + torch.arange(rows)[:, None, None]
    return search.minimise(Numbered(torch.arange(rows)), start, evaluations=torch.full((rows,), budget))


def test_only_failed_rows_start_again_and_the_cheapest_attempt_is_kept() -> None:
    attempt = Scripted([[0.1, 0.9, 0.8, 0.7], [9, 0.2, 0.9, 0.6], [9, 9, 0.95, 0.1]], price=10)
    found = run(Restarts(minimiser=attempt, enough=0.5), 4, budget=100, attempts=3)
    assert attempt.calls == [
        (0, [0, 1, 2, 3], [100] * 4),
        (1, [1, 2, 3], [90] * 3),
        (2, [2, 3], [80] * 2),
    ]
    assert found.point[:, 0].tolist() == [0, 101, 2, 203]
    torch.testing.assert_close(found.cost, torch.tensor([0.1, 0.2, 0.8, 0.1]))
    assert found.evaluations.tolist() == [10, 20, 30, 30]


@pytest.mark.parametrize(("budget", "attempts"), [(100, 4), (60, 3), (45, 2), (20, 1)])
def test_attempts_share_one_budget(budget: int, attempts: int) -> None:
    """Each costs 20; another is worth it while a fifth of the budget is left, and three are allowed."""
    attempt = Scripted([[1.0] * 4] * 5, price=20)
    search = Restarts(minimiser=attempt, enough=0.5, least=budget // 5)
    found = run(search, 4, budget=budget, attempts=4)
    assert len(attempt.calls) == attempts
    assert found.evaluations.tolist() == [20 * attempts] * 4
    assert (found.evaluations <= budget).all()


def test_no_restart_is_made_where_none_is_allowed() -> None:
    attempt = Scripted([[1.0] * 4], price=1)
    run(Restarts(minimiser=attempt, enough=0.5), 4, budget=100, attempts=1)
    assert [call[0] for call in attempt.calls] == [0]


def test_a_non_finite_cost_counts_as_failed_and_loses_to_any_other() -> None:
    attempt = Scripted([[torch.nan, torch.inf, 0.1, torch.nan], [0.9, 0.9, 9, torch.nan]], price=10)
    found = run(Restarts(minimiser=attempt, enough=torch.inf), 4, budget=30, attempts=2)
    assert attempt.calls[1][1] == [0, 1, 3]
    assert found.point[:, 0].tolist() == [100, 101, 2, 3]
    assert found.cost[3].isnan()


def test_a_row_that_ends_twice_at_one_cost_is_not_tried_again() -> None:
    attempt = Scripted([[1.0, 1.0, torch.nan], [1.001, 2.0, torch.nan], [9, 9, 0.7]], price=10)
    run(Restarts(minimiser=attempt, enough=0.5, agreement=2e-3), 3, budget=100, attempts=3)
    assert [rows for _, rows, _ in attempt.calls] == [[0, 1, 2], [0, 1, 2], [1, 2]]


@pytest.mark.parametrize("inside", [False, True])
def test_rows_beyond_a_chunk_keep_their_order(inside: bool) -> None:
    """Restarts inside of chunks, and chunks inside of restarts."""
    attempt = Scripted([[0.0, 1.0] * 6 + [1.0], [0.3] * 13], price=1)
    if inside:
        search: Restarts[Numbered] | Chunks[Numbered] = Chunks(
            minimiser=Restarts(minimiser=attempt, enough=0.5), size=5
        )
    else:
        search = Restarts(minimiser=Chunks(minimiser=attempt, size=5), enough=0.5)
    found = run(search, 13, budget=5, attempts=2)
    sizes = [(turn, len(rows)) for turn, rows, _ in attempt.calls]
    assert sizes == (
        [(0, 5), (1, 2), (0, 5), (1, 3), (0, 3), (1, 2)]
        if inside
        else [(0, 5), (0, 5), (0, 3), (1, 5), (1, 2)]
    )
    assert found.point[:, 0].tolist() == [100 * (i % 2 or i == 12) + i for i in range(13)]
