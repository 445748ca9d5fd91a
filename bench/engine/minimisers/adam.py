"""Adam for many rows at once: on the sign of the gradient, with a warm start of its rate, or as AMSGrad."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import ClassVar

import torch
from torch import Tensor

from bench.engine.minimisers.contract import Optimum, Project

Scheduled = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""``(points [N, ...], share) -> costs [N], gradients``: all that Adam asks of an objective."""


@dataclass(frozen=True, kw_only=True)
class Adam(ABC):
    """One schedule for all rows (Kingma and Ba, ICLR 2015); the forms below differ in their rates and steps.

    Attributes:
        learning_rate: the largest of the schedule.
        betas: decay of both moments.
        iterations: length of the schedule; None: as many as there are evaluations, which bound it anyway.
    """

    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    iterations: int | None = None
    epsilon: ClassVar[float] = 1e-12
    remembers_largest: ClassVar[bool] = False

    def minimise(
        self, objective: Scheduled, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """Runs the schedule once, see :class:`~bench.engine.minimisers.contract.Minimiser`."""
        length = int(evaluations.min())
        length = length if self.iterations is None else min(length, self.iterations)
        point = best = project(start) if project else start
        first = second = largest = torch.zeros_like(point)
        cost = point.new_full(point.shape[:1], torch.inf)
        for turn in range(1, length + 1):
            here, gradient = objective(point, self._share(turn, length))
            better = here < cost
            best = torch.where(better.view(-1, *[1] * (point.dim() - 1)), point, best)
            cost = torch.where(better, here, cost)
            gradient = self._direction(gradient.nan_to_num(0.0, 0.0, 0.0))
            first = torch.lerp(gradient, first, self.betas[0])
            second = torch.lerp(gradient.square(), second, self.betas[1])
            largest = torch.maximum(largest, second) if self.remembers_largest else second
            spread = (largest / (1 - self.betas[1] ** turn)).sqrt() + self.epsilon
            point = point - self._step(self.rate(turn, length), first, 1 - self.betas[0] ** turn, spread)
            point = project(point) if project else point
        return Optimum(best, cost, torch.full_like(evaluations, length))

    @abstractmethod
    def rate(self, turn: int, length: int) -> float:
        """The learning rate of an iteration, from 1 to ``length``."""

    def _share(self, turn: int, length: int) -> float:
        return 1 - (turn - 1) / length

    def _direction(self, gradient: Tensor) -> Tensor:
        return gradient

    @abstractmethod
    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        # The forms' steps are equal but for rounding, which published reconstructions depend on.
        """``rate * first / weight / spread``, where ``first / weight`` is the mean gradient without bias."""


@dataclass(frozen=True, kw_only=True)
class SignedAdam(Adam):
    """Adam on the sign of the gradient, with step decay (Geiping et al. 2020, Section 5).

    Attributes:
        signed: take the sign; false is plain Adam.
        decay: of the rate: ``steps``, a tenth after 3/8, 5/8 and 7/8 of the iterations, or ``cosine``, along
            a half cosine to zero.
    """

    signed: bool = True
    decay: str = "steps"
    epsilon: ClassVar[float] = 1e-8

    def rate(self, turn: int, length: int) -> float:
        """Falls as ``decay`` says."""
        if self.decay == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * (turn - 1) / length))
        return self.learning_rate * 0.1 ** sum(turn > length * share // 8 for share in (3, 5, 7))

    def _direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign() if self.signed else gradient

    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        return rate * (first / weight) / spread


@dataclass(frozen=True, kw_only=True)
class WarmAdam(Adam):
    """Adam whose rate rises over the first iterations and falls to zero over the last (Li et al. 2022).

    Attributes:
        warm_up: share of the iterations over which it rises from zero, linearly.
        decay: share of the iterations over which it falls, along a half cosine.
    """

    warm_up: float = 0.05
    decay: float = 0.25

    def rate(self, turn: int, length: int) -> float:
        """Rises, stays and falls."""
        share = turn / length
        rising = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        over = max(0.0, share - 1 + self.decay) / self.decay if self.decay else 0.0
        return self.learning_rate * rising * 0.5 * (1 + cos(pi * over))

    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        return rate * (first / weight / spread)


@dataclass(frozen=True, kw_only=True)
class AMSGrad(Adam):
    """Adam that never forgets the largest second moment (Reddi et al. 2018), with cosine decay to zero."""

    remembers_largest: ClassVar[bool] = True

    def rate(self, turn: int, length: int) -> float:
        """Falls as what fades does."""
        return self.learning_rate * self._share(turn, length)

    def _share(self, turn: int, length: int) -> float:
        return 0.5 * (1 + cos(pi * turn / length))

    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        return rate * first / weight / spread
