"""Additive noise on the released gradients (Zhu et al. 2019, Section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext


class Noise(Defense):
    """Gaussian or Laplace noise of standard deviation sigma on every entry that leaves a client."""

    def __init__(self, *, sigma: float = 0.01, distribution: str = "gaussian") -> None:
        """Sets the standard deviation and the shape of the noise."""
        self.sigma = sigma
        self.distribution = distribution

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Each client adds its own noise, ``[N, ...]`` per parameter."""
        return {name: value + self.sigma * self._unit(value, context) for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        """The density of the release: l2 / (2 sigma^2), or l1 * sqrt 2 / sigma, in nats."""
        if self.sigma == 0:
            return None
        density = self._gaussian if self.distribution == "gaussian" else self._laplace
        return DefenseView(
            parameters={"sigma": self.sigma, "distribution": self.distribution},
            negative_log_likelihood=density,
        )

    def _unit(self, like: Tensor, context: HookContext) -> Tensor:
        """Noise of standard deviation one."""
        if self.distribution == "gaussian":
            return torch.randn(like.shape, generator=context.generator, device=like.device, dtype=like.dtype)
        uniform = torch.rand(like.shape, generator=context.generator, device=like.device, dtype=like.dtype)
        centred = (uniform - 0.5).clamp(-0.5 + 1e-7, 0.5 - 1e-7)
        return -centred.sign() * torch.log1p(-2 * centred.abs()) / sqrt(2)

    def _gaussian(self, candidate: Gradients, observed: Gradients) -> Tensor:
        return _sum_of(candidate, observed, torch.square) / (2 * self.sigma**2)

    def _laplace(self, candidate: Gradients, observed: Gradients) -> Tensor:
        return _sum_of(candidate, observed, torch.abs) * sqrt(2) / self.sigma


def _sum_of(candidate: Gradients, observed: Gradients, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum of a penalty of the errors over all entries of each victim, ``[N]``."""
    errors = (penalty(candidate[name] - observed[name]) for name in candidate)
    parts = [error.reshape(len(error), -1).sum(1) for error in errors]
    return torch.stack(parts).sum(0)
