"""Batched least squares against numpy's dense solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.engine import CGLS, Optimum


def systems(rows: int, equations: int, unknowns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, equations, unknowns, generator=generator, dtype=torch.float64)
    return matrix, torch.randn(rows, equations, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Dense:
    """``A x = b`` of every row, as a matrix."""

    matrix: Tensor
    target: Tensor

    def apply(self, value: Tensor) -> Tensor:
        return torch.einsum("nmd,nd->nm", self.matrix, value)

    def adjoint(self, rows: Tensor) -> Tensor:
        return torch.einsum("nmd,nm->nd", self.matrix, rows)


def solved(matrix: Tensor, target: Tensor, start: Tensor | None = None, **options: float) -> Optimum:
    solver = CGLS(**{"patience": 10**9, **options})  # type: ignore[arg-type]
    zero = matrix.new_zeros(len(matrix), matrix.shape[2])
    return solver.minimise(
        Dense(matrix, target), zero if start is None else start, evaluations=torch.full((len(matrix),), 500)
    )


def solve(matrix: Tensor, target: Tensor, **options: float) -> tuple[Tensor, Tensor]:
    found = solved(matrix, target, **options)
    return found.point, found.evaluations


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), extra=st.integers(0, 20), unknowns=st.integers(1, 12))
def test_it_is_the_least_squares_solution_of_every_row(seed: int, extra: int, unknowns: int) -> None:
    matrix, target = systems(3, unknowns + extra + 1, unknowns, seed)
    found, _ = solve(matrix, target)
    for row in range(3):
        want = np.linalg.lstsq(matrix[row].numpy(), target[row].numpy(), rcond=None)[0]
        residual = (matrix[row] @ found[row] - target[row]).norm().item()
        best = np.linalg.norm(matrix[row].numpy() @ want - target[row].numpy())
        assert residual <= best * (1 + 1e-9) + 1e-9


def test_rows_do_not_know_of_each_other_and_stop_alone() -> None:
    matrix, target = systems(4, 30, 20, seed=1)
    matrix[2] = torch.eye(30, 20, dtype=torch.float64)  # solved in one step
    # Far above rounding: the sums of a batch are rounded in another order than those of a row alone.
    together, spent = solve(matrix, target, tolerance=1e-2)
    assert spent[2] == 1 and (spent[[0, 1, 3]] > 5).all()
    for row in range(4):
        alone, own = solve(matrix[row : row + 1], target[row : row + 1], tolerance=1e-2)
        torch.testing.assert_close(together[row], alone[0], rtol=1e-9, atol=1e-9)
        assert own[0] == spent[row]


def test_it_stops_where_the_residual_stands_still() -> None:
    """Noise that no x explains: the residual cannot fall below it."""
    matrix, _ = systems(1, 400, 20, seed=2)
    noise = torch.randn(1, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    truth = torch.ones(1, 20, dtype=torch.float64)
    target = torch.einsum("nmd,nd->nm", matrix, truth) + noise
    _, spent = solve(matrix, target, patience=5, progress=1e-2, tolerance=0.0)
    assert spent[0] <= 15


def test_a_row_of_zeros_or_nan_ends_at_once() -> None:
    matrix, target = systems(3, 8, 5, seed=4)
    target[0], target[1, 3] = 0.0, torch.nan
    found, spent = solve(matrix, target)
    assert spent.tolist()[:2] == [0, 0] and spent[2] > 0
    assert (found[0] == 0).all()


def test_any_start_leads_to_the_same_solution_and_the_cost_is_the_residual() -> None:
    matrix, target = systems(3, 20, 6, seed=5)
    zero, other = solved(matrix, target), solved(matrix, target, start=torch.ones(3, 6, dtype=torch.float64))
    torch.testing.assert_close(zero.point, other.point)
    residual = torch.einsum("nmd,nd->nm", matrix, zero.point) - target
    torch.testing.assert_close(zero.cost, residual.norm(dim=1))
