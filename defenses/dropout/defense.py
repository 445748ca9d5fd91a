"""Dropout on the activations that leave a split-learning client."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, HookContext


class Dropout(Defense):
    """Every entry of a release is withheld with a fixed probability; the others are scaled up for it."""

    def __init__(self, *, rate: float = 0.6) -> None:
        """Sets the probability that an entry is withheld."""
        self.rate = rate

    def smashed(self, activations: Tensor, context: HookContext) -> Tensor:
        """Each client draws its own mask for ``[N, B, *Z]``."""
        return self._release(activations, context.generator)

    def view(self) -> DefenseView | None:
        """Zeros may not have been sent; the attacker can draw masks of its own."""
        if self.rate == 0:
            return None
        return DefenseView(
            parameters={"rate": self.rate},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
            release=self._release,
        )

    def _release(self, activations: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(activations.shape, generator=generator, device=generator.device)
        kept = (drawn >= self.rate).to(activations)
        return activations * kept / (1 - self.rate)
