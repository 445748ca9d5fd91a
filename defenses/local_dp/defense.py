"""Local differential privacy of a whole update, as Flower ships it: clip, then add Gaussian noise."""

from __future__ import annotations

from math import log, sqrt

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext
from bench.engine.matching import energy


class LocalDP(Defense):
    """Each client clips its update to a norm and adds noise of the Gaussian mechanism."""

    def __init__(
        self,
        *,
        epsilon: float = 10.0,
        delta: float = 1e-5,
        clipping_norm: float = 1.0,
        sensitivity: float = 1e-4,
        learning_rate: float = 0.05,
    ) -> None:
        """Sets the nominal budget, the bound on the change of all weights, and the rate of the step."""
        self.parameters: dict[str, object] = {
            "epsilon": epsilon, "delta": delta, "clipping_norm": clipping_norm,
            "sensitivity": sensitivity, "learning_rate": learning_rate,
        }  # fmt: skip
        self.bound = clipping_norm / learning_rate
        self.sigma = sensitivity * sqrt(2 * log(1.25 / delta)) / epsilon / learning_rate

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``v min(1, C / |v|) + N(0, sigma^2)``, the norm over all of a client's entries."""
        chance = context.generator
        return {
            name: value
            + self.sigma * torch.randn(value.shape, generator=chance, device=value.device, dtype=value.dtype)
            for name, value in self._clipped(gradients).items()
        }

    def view(self) -> DefenseView | None:
        """The density of the noise around a clipped candidate: ``l2 / (2 sigma^2)``, in nats."""
        return DefenseView(parameters=self.parameters, negative_log_likelihood=self._density)

    def _clipped(self, gradients: Gradients) -> Gradients:
        norm = energy(gradients).clamp_min(1e-12).sqrt()
        scale = (self.bound / norm).clamp_max(1)
        return {name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}

    def _density(self, candidate: Gradients, observed: Gradients) -> Tensor:
        mean = self._clipped({name: candidate[name] for name in observed})
        return energy({name: mean[name] - value for name, value in observed.items()}) / (2 * self.sigma**2)
