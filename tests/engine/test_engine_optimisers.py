"""Both optimisers on functions whose minimum is known; every row is on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.engine import LBFGS, AMSGrad, Minimiser, SignedAdam, Stopping, WarmAdam, costs_and_gradients
from bench.engine.minimisers.contract import BatchedObjective

NEVER = Stopping(target=-torch.inf, patience=10**9)


@dataclass
class Rows(BatchedObjective):
    """Differentiable function ``(point [N, D], row numbers [N]) -> [N]``, which counts what it is asked."""

    function: Callable[[Tensor, Tensor], Tensor]
    rows: Tensor
    asked: list[list[int]] = field(default_factory=list)

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        self.asked.append(self.rows.tolist())
        return costs_and_gradients(lambda leaf: self.function(leaf, self.rows), point)

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.function, self.rows[rows], self.asked)


def on(rows: int, function: Callable[[Tensor, Tensor], Tensor]) -> Rows:
    return Rows(function, torch.arange(rows))


def quadratics(conditions: list[float], size: int, seed: int) -> tuple[Rows, Tensor]:
    """One convex quadratic per row, with minimum 0 at a point of its own and its own condition number."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(conditions), size, size)
    turns = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64)).Q
    spectra = torch.stack(
        [torch.logspace(0, torch.tensor(c).log10().item(), size).double() for c in conditions]
    )
    curvature = turns @ torch.diag_embed(spectra) @ turns.mT
    goal = torch.randn(len(conditions), size, generator=generator, dtype=torch.float64)

    def cost(point: Tensor, rows: Tensor) -> Tensor:
        gap = point - goal[rows]
        return 0.5 * torch.einsum("nd,nde,ne->n", gap, curvature[rows], gap)

    return on(len(conditions), cost), goal


def rosenbrock(point: Tensor, rows: Tensor) -> Tensor:
    """Row r has the valley's steepness 10 (r + 1); the minimum is at ones."""
    steep = (10.0 * (rows + 1)).to(point.dtype).unsqueeze(1)
    return (steep * (point[:, 1:] - point[:, :-1] ** 2) ** 2 + (1 - point[:, :-1]) ** 2).sum(1)


def budgets(*each: int) -> Tensor:
    return torch.tensor(each)


@settings(max_examples=8, deadline=None)
@given(
    conditions=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=6),
    size=st.integers(2, 30),
    seed=st.integers(0, 2**31),
)
def test_lbfgs_minimises_convex_quadratics(conditions: list[float], size: int, seed: int) -> None:
    objective, goal = quadratics(conditions, size, seed)
    budget = torch.full((len(conditions),), 2000)
    stopping = Stopping(target=1e-18, patience=10**9)
    found = LBFGS(history=10, stopping=stopping).minimise(
        objective, torch.zeros_like(goal), evaluations=budget
    )
    assert (found.cost <= 1e-16).all()
    assert (found.point - goal).abs().max() <= 1e-7


def test_lbfgs_minimises_the_rosenbrock_function_in_every_row() -> None:
    start = torch.tensor([[-1.2, 1.0, -1.2, 1.0]], dtype=torch.float64).repeat(10, 1)
    start[5:] += torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = LBFGS(stopping=Stopping(target=1e-20, patience=10**9)).minimise(
        on(10, rosenbrock), start, evaluations=torch.full((10,), 500)
    )
    assert (found.cost <= 1e-16).all()
    # In four dimensions the function has a second, local minimum near (-1, 1, 1, 1): it is not reached here.
    torch.testing.assert_close(found.point, torch.ones_like(start), rtol=0, atol=1e-6)


def test_lbfgs_spends_each_rows_budget_exactly_and_reports_it() -> None:
    objective = on(6, rosenbrock)
    start = torch.full((6, 8), -1.0, dtype=torch.float64)
    wanted = budgets(1, 2, 3, 7, 20, 41)
    found = LBFGS(stopping=NEVER).minimise(objective, start, evaluations=wanted)
    assert found.evaluations.tolist() == wanted.tolist()
    # Finished rows may wait in the batch until a fifth of it is idle: no row is asked less than it reports.
    for row, spent in enumerate(found.evaluations.tolist()):
        assert sum(row in asked for asked in objective.asked) >= spent


@pytest.mark.parametrize("line_search", ["wolfe", "fixed"])
def test_lbfgs_never_exceeds_a_budget(line_search: str) -> None:
    wanted = budgets(1, 5, 30, 31, 60)
    start = torch.full((5, 8), -1.0, dtype=torch.float64)
    optimiser = LBFGS(line_search=line_search)
    found = optimiser.minimise(on(5, rosenbrock), start, evaluations=wanted)
    assert ((found.evaluations >= 1) & (found.evaluations <= wanted)).all()


def test_lbfgs_returns_the_cost_of_its_point_and_never_a_worse_one_than_the_start() -> None:
    start = torch.randn(8, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for budget in (1, 2, 9, 50):
        found = LBFGS(stopping=NEVER).minimise(on(8, rosenbrock), start, evaluations=torch.full((8,), budget))
        torch.testing.assert_close(found.cost, rosenbrock(found.point, torch.arange(8)))
        assert (found.cost <= rosenbrock(start, torch.arange(8))).all()


def test_lbfgs_reaches_its_target_and_stops_there() -> None:
    objective, goal = quadratics([1.0, 100.0], 10, seed=0)
    stopping = Stopping(target=1e-3, patience=10**9)
    found = LBFGS(stopping=stopping).minimise(
        objective, torch.zeros_like(goal), evaluations=budgets(500, 500)
    )
    assert (found.cost <= 1e-3).all()
    assert (found.evaluations < 100).all()


def test_lbfgs_leaves_a_row_that_makes_no_progress() -> None:
    flat = on(
        2, lambda point, rows: torch.where(rows == 0, 1.0 + 1e-9 * point[:, 0], rosenbrock(point, rows))
    )
    start = torch.full((2, 6), -1.0, dtype=torch.float64)
    stopping = Stopping(patience=10, progress=1e-2)
    found = LBFGS(stopping=stopping).minimise(flat, start, evaluations=budgets(300, 300))
    assert found.evaluations[0] <= 12
    assert found.evaluations[1] > 20


def test_rows_do_not_know_of_each_other() -> None:
    """Compaction moves rows about; a row's path must be that of its lonely run."""
    start = torch.randn(9, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    wanted = budgets(90, 3, 50, 4, 11, 200, 5, 30, 77)
    together = LBFGS(history=5, stopping=Stopping(target=1e-12)).minimise(
        on(9, rosenbrock), start, evaluations=wanted
    )
    for row in range(9):
        objective = Rows(rosenbrock, torch.tensor([row]))
        alone = LBFGS(history=5, stopping=Stopping(target=1e-12)).minimise(
            objective, start[row : row + 1], evaluations=wanted[row : row + 1]
        )
        assert together.evaluations[row] == alone.evaluations[0]
        torch.testing.assert_close(together.point[row], alone.point[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_starts_at_a_non_finite_cost_ends_there(bad: float) -> None:
    start = torch.full((3, 4), -1.0, dtype=torch.float64)

    def cost(point: Tensor, rows: Tensor) -> Tensor:
        return rosenbrock(point, rows) + torch.where(rows == 1, bad, 0.0)

    stopping = Stopping(target=1e-14, patience=10**9)
    found = LBFGS(stopping=stopping).minimise(on(3, cost), start, evaluations=budgets(400, 400, 400))
    assert found.evaluations[1] == 1
    assert torch.equal(found.point[1], start[1])
    assert not found.cost[1].isfinite()
    assert (found.cost[[0, 2]] <= 1e-12).all()


def test_lbfgs_steps_back_from_regions_without_a_value() -> None:
    """-log of a barrier: nan beyond it, and the minimum right beside it."""

    def cost(point: Tensor, rows: Tensor) -> Tensor:
        return (100 * (rows + 1).unsqueeze(1) * point - (point + 1e-3).log()).sum(1)

    start = torch.ones(3, 4, dtype=torch.float64)
    found = LBFGS(stopping=NEVER).minimise(on(3, cost), start, evaluations=budgets(300, 300, 300))
    want = (1 / (100 * torch.arange(1, 4)) - 1e-3).double().unsqueeze(1).expand(-1, 4)
    torch.testing.assert_close(found.point, want, rtol=0, atol=1e-6)


def test_lbfgs_is_the_same_in_float32_up_to_rounding() -> None:
    objective, goal = quadratics([10.0, 1000.0], 12, seed=2)
    single = Rows(lambda point, rows: objective.function(point.double(), rows).float(), torch.arange(2))
    stopping = Stopping(target=1e-9, patience=10**9)
    found = LBFGS(stopping=stopping).minimise(single, torch.zeros(2, 12), evaluations=budgets(500, 500))
    assert found.point.dtype == torch.float32
    assert (found.point - goal).abs().max() < 1e-4


@pytest.mark.parametrize("signed", [True, False])
def test_adam_spends_its_iterations_and_stays_in_the_box(signed: bool) -> None:
    visited: list[Tensor] = []
    objective, goal = quadratics([1.0, 3.0, 10.0], 5, seed=1)

    def function(point: Tensor, rows: Tensor) -> Tensor:
        visited.append(point.detach().clone())
        return objective.function(point, rows)

    watched = on(3, function)
    box = lambda point: point.clamp(-0.5, 0.5)  # noqa: E731
    start = 3 * torch.ones_like(goal)
    found = SignedAdam(signed=signed).minimise(watched, start, evaluations=budgets(60, 60, 60), project=box)
    assert len(watched.asked) == 60
    assert found.evaluations.tolist() == [60, 60, 60]
    assert all(bool((point.abs() <= 0.5).all()) for point in [*visited, found.point])
    costs = torch.stack([objective.function(point, torch.arange(3)) for point in visited])
    torch.testing.assert_close(found.cost, costs.min(0).values)
    torch.testing.assert_close(objective.function(found.point, torch.arange(3)), found.cost)


def test_adam_finds_the_minimum_inside_the_box() -> None:
    objective, goal = quadratics([1.0, 5.0], 6, seed=3)
    found = SignedAdam(learning_rate=0.05).minimise(
        objective, torch.zeros_like(goal), evaluations=budgets(800, 800)
    )
    assert (found.point - goal).abs().max() < 1e-2


def test_adam_equals_pytorch_where_the_sign_is_not_taken() -> None:
    objective, goal = quadratics([7.0], 6, seed=4)
    visited: list[Tensor] = []

    def function(point: Tensor, rows: Tensor) -> Tensor:
        visited.append(point.detach().clone())
        return objective.function(point, rows)

    # The rate is constant over the first three eighths.
    SignedAdam(learning_rate=0.1, signed=False).minimise(
        on(1, function), torch.zeros_like(goal), evaluations=budgets(80)
    )
    point = torch.zeros_like(goal).requires_grad_()
    reference = torch.optim.Adam([point], lr=0.1)
    for seen in visited[:30]:
        torch.testing.assert_close(seen, point.detach(), rtol=1e-9, atol=1e-9)
        reference.zero_grad()
        objective.function(point, torch.arange(1)).sum().backward()
        reference.step()


def test_adam_survives_rows_without_a_value() -> None:
    objective = on(2, lambda point, rows: torch.where(rows == 0, torch.nan, 1.0) * point.square().sum(1))
    found = SignedAdam().minimise(objective, torch.ones(2, 3), evaluations=budgets(200, 200))
    assert found.point.isfinite().all()
    assert found.cost[1] < 1e-3


def test_lbfgs_gives_a_row_up_after_its_chance() -> None:
    """Two rows that fall alike; one of them cannot come below 5."""
    lifted = on(2, lambda point, rows: rosenbrock(point, rows) + 5.0 * (rows == 1))
    start = torch.full((2, 6), -1.0, dtype=torch.float64)
    stopping = Stopping(patience=10**9, abort_cost=4.0, chance=30)
    found = LBFGS(stopping=stopping).minimise(lifted, start, evaluations=budgets(50, 50))
    assert found.evaluations[1] == 30 < found.evaluations[0]


def test_the_strong_conditions_refuse_a_step_past_the_minimum() -> None:
    """The first step of length one ends where the derivative along the line is large and positive."""

    def cost(point: Tensor, rows: Tensor) -> Tensor:
        return (point - 0.501).square().sum(1)  # from 0, the step 1 goes to 1 and lowers the cost a little

    start = torch.zeros(1, 1, dtype=torch.float64)
    weak, strong = (
        LBFGS(line_search=rule, stopping=NEVER).minimise(on(1, cost), start, evaluations=budgets(2))
        for rule in ("wolfe", "strong")
    )
    assert weak.point.item() == pytest.approx(1.0)
    assert strong.point.item() == 0.0


def test_strong_line_search_minimises_what_the_weak_one_does() -> None:
    start = torch.randn(6, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    stopping = Stopping(target=1e-12, patience=10**9)
    found = LBFGS(line_search="strong", stopping=stopping).minimise(
        on(6, rosenbrock), start, evaluations=torch.full((6,), 500)
    )
    assert (found.cost < 10).all() and found.cost.quantile(0.5) <= 1e-12


@pytest.mark.parametrize(
    ("optimiser", "shares"),
    [
        (SignedAdam(), [1.0, 0.75, 0.5, 0.25]),
        (WarmAdam(), [1.0, 0.75, 0.5, 0.25]),
        (AMSGrad(), [0.5 * (1 + math.cos(math.pi * turn / 4)) for turn in range(1, 5)]),
    ],
)
def test_what_fades_is_told_its_share_and_enters_no_cost(
    optimiser: Minimiser[BatchedObjective], shares: list[float]
) -> None:
    told: list[float] = []

    @dataclass
    class Led(Rows):
        def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
            told.append(share)
            cost, gradient = super().__call__(point)
            return cost, gradient + share

    flat = Led(lambda point, rows: 0 * point.sum(1) + 3.0, torch.arange(2))
    found = optimiser.minimise(flat, torch.zeros(2, 3), evaluations=budgets(4, 4))
    assert told == pytest.approx(shares) and found.cost.tolist() == [3.0, 3.0]


EVERY = [SignedAdam(), WarmAdam(), AMSGrad(), LBFGS(stopping=NEVER)]


@pytest.mark.parametrize("optimiser", EVERY, ids=lambda one: type(one).__name__)
def test_every_minimiser_keeps_the_contract(optimiser: Minimiser[BatchedObjective]) -> None:
    """Budgets per row, points that are allowed, and the cost of the point."""
    objective, goal = quadratics([1.0, 3.0, 10.0], 5, seed=1)
    start, wanted = 3 * torch.ones_like(goal), budgets(30, 7, 12)
    found = optimiser.minimise(
        objective, start, evaluations=wanted, project=lambda point: point.clamp(-0.5, 0.5)
    )
    assert ((found.evaluations >= 1) & (found.evaluations <= wanted)).all()
    assert (found.point.abs() <= 0.5).all()
    torch.testing.assert_close(objective(found.point)[0], found.cost)
    assert (found.cost < objective(start.clamp(-0.5, 0.5))[0]).all()


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ("steps", [0.2] * 3 + [0.02] * 2 + [0.002] * 2 + [0.0002]),
        ("cosine", [0.1 * (1 + math.cos(math.pi * turn / 8)) for turn in range(8)]),
    ],
)
def test_the_rate_falls_as_named(decay: str, rates: list[float]) -> None:
    optimiser = SignedAdam(learning_rate=0.2, decay=decay)
    assert [optimiser.rate(turn, 8) for turn in range(1, 9)] == pytest.approx(rates)
