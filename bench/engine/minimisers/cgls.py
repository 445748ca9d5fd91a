"""Least squares for many rows at once: conjugate gradients on the normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.engine.minimisers.contract import Optimum, Project


class LinearSystem(Protocol):
    """``A x = b`` of N rows, whose squared error is to be minimised."""

    @property
    def target(self) -> Tensor:
        """b, ``[N, M]``."""

    def apply(self, value: Tensor, /) -> Tensor:
        """A of every row, ``[N, D] -> [N, M]``."""

    def adjoint(self, rows: Tensor, /) -> Tensor:
        """Its transpose, ``[N, M] -> [N, D]``."""


@dataclass(frozen=True, kw_only=True)
class CGLS:
    """Minimises ``||A x - b||`` (Hestenes and Stiefel 1952; Bjorck 1996, 7.4).

    Past convergence, rounding and noise are fitted, so a row stops as soon as its residual stands still.

    Attributes:
        tolerance: a row stops when the gradient of its square has fallen to this share of its start.
        patience: iterations between two looks at the residual.
        progress: a row stops if its residual fell by less than this share since the last look.
    """

    tolerance: float = 1e-10
    patience: int = 40
    progress: float = 1e-2

    def minimise(
        self, objective: LinearSystem, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """An evaluation is an iteration; only the solution is projected, and costs are ``||A x - b||``."""
        point = start
        residual = objective.target - objective.apply(start) if start.any() else objective.target
        normal_residual = objective.adjoint(residual)
        direction, energy = normal_residual, normal_residual.square().sum(1)
        spent = torch.zeros_like(evaluations)
        first, seen = energy, residual.norm(dim=1)
        running = torch.isfinite(energy) & (energy > 0)
        for turn in range(1, int(evaluations.min()) + 1):
            if not running.any():
                break
            image = objective.apply(direction)
            length = torch.where(running, energy / image.square().sum(1), 0.0).unsqueeze(1)
            point, residual = point + length * direction, residual - length * image
            spent = spent + running.long()
            normal_residual = objective.adjoint(residual)
            grown = normal_residual.square().sum(1)
            direction = normal_residual + torch.where(running, grown / energy, 0.0).unsqueeze(1) * direction
            energy = torch.where(running, grown, energy)
            running = running & torch.isfinite(grown) & (grown > self.tolerance**2 * first)
            if turn % self.patience == 0:
                norm = residual.norm(dim=1)
                running, seen = running & (norm < (1 - self.progress) * seen), norm
        return Optimum(project(point) if project else point, residual.norm(dim=1), spent)
