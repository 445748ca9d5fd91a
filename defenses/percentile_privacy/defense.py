"""Largest percentile to share (Shokri and Shmatikov, CCS 2015), as NVIDIA FLARE ships it."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext
from bench.engine.matching import flat


class PercentilePrivacy(Defense):
    """Each client drops the smallest entries of its whole update and clamps the others; no noise."""

    def __init__(self, *, percentile: float = 10.0, gamma: float = 0.01, learning_rate: float = 0.05) -> None:
        """Sets how much is dropped, the bound on a weight's change in a step, and the rate of that step."""
        self.percentile, self.gamma, self.learning_rate = percentile, gamma, learning_rate
        self.bound = gamma / learning_rate

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``clamp(v, gamma)`` where ``|v|`` is above the percentile of all of a client's entries, else 0."""
        size = flat(gradients).abs()
        rank = 1 + int(self.percentile / 100 * (size.shape[1] - 1))
        least = size.kthvalue(rank, dim=1).values
        return {
            name: torch.where(value.abs() <= _beside(least, value), 0.0, value.clamp(-self.bound, self.bound))
            for name, value in gradients.items()
        }

    def view(self) -> DefenseView | None:
        """Zeros were not sent, and what was sent at the bound was at least as large."""
        return DefenseView(
            parameters={
                "percentile": self.percentile, "gamma": self.gamma, "learning_rate": self.learning_rate
            },
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
            transmit=self._clamped,
        )  # fmt: skip

    def _clamped(self, candidate: Gradients, observed: Gradients) -> Gradients:
        """A candidate, clamped where the client's entry was; elsewhere it may come back from beyond."""
        return {
            name: torch.where(
                value.abs() < self.bound, candidate[name], candidate[name].clamp(-self.bound, self.bound)
            )
            for name, value in observed.items()
        }


def _beside(each: Tensor, value: Tensor) -> Tensor:
    """Numbers ``[N]``, to be compared with entries ``[N, ...]``."""
    return each.view(-1, *[1] * (value.dim() - 1))
