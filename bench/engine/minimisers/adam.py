"""Adam for many victims at once: on the sign of the gradient, or as AMSGrad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from bench.engine.minimisers.lbfgs import BatchedObjective
from bench.engine.minimisers.optimum import Optimum

Fading = Callable[[Tensor, float], Tensor]
"""``(point [N, D], share) -> slope [N, D]`` of a cost that counts by this share, which falls from 1 to 0."""


def fallen(done: int, iterations: int, *, power: float = 2.0) -> float:
    """What is left of a fading cost after ``done`` of the iterations: ``(1 - done / iterations)^power``."""
    return float((1 - done / iterations) ** power)


@dataclass(frozen=True, kw_only=True)
class SignedAdam:
    """Adam whose gradient is replaced by its sign, with step decay (Geiping et al. 2020, Section 5).

    Attributes:
        learning_rate: of the first iteration.
        betas: decay of both moments.
        signed: take the sign; false is plain Adam.
        decay: of the rate: ``steps``, a tenth after 3/8, 5/8 and 7/8 of the iterations, or ``cosine``, along
            a half cosine to zero.
        power: by which a cost fades, see :func:`fallen`.
    """

    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    signed: bool = True
    decay: str = "steps"
    power: float = 2.0

    def rate(self, turn: int, iterations: int) -> float:
        """The learning rate of an iteration, from 1 to ``iterations``."""
        if self.decay == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * (turn - 1) / iterations))
        return self.learning_rate * 0.1 ** sum(turn > iterations * share // 8 for share in (3, 5, 7))

    def minimise(
        self,
        objective: BatchedObjective,
        start: Tensor,
        *,
        iterations: int,
        project: Callable[[Tensor], Tensor] = lambda point: point,
        fading: Fading | None = None,
    ) -> Optimum:
        """Runs the schedule once on every row.

        Args:
            objective: costs and gradients of N rows.
            start: ``[N, D]``.
            iterations: evaluations per row.
            project: applied to the point after each step, e.g. a box.
            fading: what guides the steps beside the objective, ever less (:func:`fallen`). It is no part of
                the costs, so that those of all iterations can be compared.

        Returns:
            Each row's iterate of lowest cost.
        """
        point = project(start)
        first, second = torch.zeros_like(point), torch.zeros_like(point)
        best, best_cost = (
            point,
            torch.full(point.shape[:1], torch.inf, dtype=point.dtype, device=point.device),
        )
        for turn in range(1, iterations + 1):
            cost, slope = objective(point)
            better = cost < best_cost
            best = torch.where(better.unsqueeze(1), point, best)
            best_cost = torch.where(better, cost, best_cost)
            if fading is not None:
                slope = slope + fading(point, fallen(turn - 1, iterations, power=self.power))
            slope = slope.nan_to_num(0.0, 0.0, 0.0)
            slope = slope.sign() if self.signed else slope
            first = torch.lerp(slope, first, self.betas[0])
            second = torch.lerp(slope.square(), second, self.betas[1])
            moved = first / (1 - self.betas[0] ** turn)
            spread = (second / (1 - self.betas[1] ** turn)).sqrt() + 1e-8
            point = project(point - self.rate(turn, iterations) * moved / spread)
        spent = torch.full(point.shape[:1], iterations, dtype=torch.long, device=point.device)
        return Optimum(best, best_cost, spent)


Scheduled = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""``(point [M, ...], share of the step) -> costs [M], slopes``; the share falls from 1 to 0."""


@dataclass(frozen=True, kw_only=True)
class AMSGrad:
    """Adam that never forgets the largest second moment (Reddi et al. 2018), with cosine decay to zero.

    Attributes:
        learning_rate: of the first step.
        betas: decay of both moments.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)

    def minimise(
        self,
        objective: Scheduled,
        start: Tensor,
        *,
        iterations: int,
        project: Callable[[Tensor], Tensor] = lambda point: point,
    ) -> Optimum:
        """Runs the schedule once on every row; rows share nothing.

        Args:
            objective: costs and slopes of M rows; it may change with the share of the step.
            start: ``[M, ...]``.
            iterations: evaluations per row.
            project: applied to the point after each step, e.g. a box.

        Returns:
            Each row's iterate of lowest cost, in the shape of the start.
        """
        point = best = project(start)
        first, second, largest = (torch.zeros_like(point) for _ in range(3))
        cost = torch.full(point.shape[:1], torch.inf, dtype=point.dtype, device=point.device)
        for turn in range(1, iterations + 1):
            share = 0.5 * (1 + cos(pi * turn / iterations))
            here, slope = objective(point, share)
            better = (here < cost).view(-1, *[1] * (point.ndim - 1))
            best, cost = torch.where(better, point, best), torch.fmin(here, cost)
            slope = slope.nan_to_num(0.0, 0.0, 0.0)
            first = torch.lerp(slope, first, self.betas[0])
            second = torch.lerp(slope.square(), second, self.betas[1])
            largest = torch.maximum(largest, second)
            spread = (largest / (1 - self.betas[1] ** turn)).sqrt() + 1e-12
            point = project(point - self.learning_rate * share * first / (1 - self.betas[0] ** turn) / spread)
        spent = torch.full(point.shape[:1], iterations, dtype=torch.long, device=point.device)
        return Optimum(best, cost, spent)
