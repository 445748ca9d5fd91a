"""Additive noise on the activations that leave a split-learning client."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext


class ActivationNoise(Defense):
    """Gaussian noise of standard deviation sigma on every entry of every release."""

    def __init__(self, *, sigma: float = 0.25) -> None:
        """Sets the standard deviation, in units of the activations."""
        self.sigma = sigma

    def smashed(self, activations: Tensor, context: HookContext) -> Tensor:
        """Each client adds its own noise to ``[N, B, *Z]``."""
        return self._release(activations, context.generator)

    def view(self) -> DefenseView | None:
        """The density of a release, and the way to make one's own."""
        if self.sigma == 0:
            return None
        return DefenseView(
            parameters={"sigma": self.sigma},
            negative_log_likelihood=self._negative_log_likelihood,
            release=self._release,
        )

    def _release(self, activations: Tensor, generator: torch.Generator) -> Tensor:
        unit = torch.randn(activations.shape, generator=generator, device=generator.device)
        return activations + self.sigma * unit.to(activations)

    def _negative_log_likelihood(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """Squared error over 2 sigma^2, ``[N]``, in nats."""
        errors = [(candidate[name] - observed[name]).square().flatten(1).sum(1) for name in candidate]
        return torch.stack(errors).sum(0) / (2 * self.sigma**2)
