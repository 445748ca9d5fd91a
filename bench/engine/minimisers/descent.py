"""PyTorch's own optimisers as minimisers, for costs that are drawn anew in each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engine.minimisers.contract import Optimum, Project, costs_and_gradients

RowCost = Callable[[Tensor], Tensor]
"""``points [N, ...] -> costs [N]``, differentiable, each of its own row alone."""
Optimiser = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Builds an optimiser that treats every number alike (Adam, momentum): so do rows share nothing."""


@dataclass(frozen=True)
class Descent:
    """The same number of steps on every row, the last of which counts: costs need not be comparable.

    Attributes:
        optimiser: e.g. ``partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True)``.
    """

    optimiser: Optimiser

    def minimise(
        self, objective: RowCost, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """The last iterate, with the cost of the one before; a gradient that is not finite counts as zero."""
        begin = start.detach()
        point = (project(begin) if project else begin).clone().requires_grad_()
        steps, cost = self.optimiser([point]), begin.new_full(begin.shape[:1], torch.inf)
        length = int(evaluations.min())
        for _ in range(length):
            cost, gradient = costs_and_gradients(objective, point)
            point.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
            steps.step()
            if project:
                with torch.no_grad():
                    point.copy_(project(point))
        return Optimum(point.detach(), cost, torch.full_like(evaluations, length))
