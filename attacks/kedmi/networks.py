"""The discriminator of an inversion-specific GAN: real or not, and what the victim would say."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import IncompatibleError


class Discriminator(nn.Module):
    """A critic that also predicts the victim's soft labels, from what its last linear layer takes."""

    def __init__(self, critic: nn.Module, num_classes: int, generator: torch.Generator) -> None:
        """Copies the critic and adds a head; the critic given stays as it is.

        Args:
            critic: images ``[M, C, H, W]`` -> ``[M]``; its last layer is linear.
            num_classes: K.
            generator: draws the head's weights.

        Raises:
            IncompatibleError: the critic has no linear layer.
        """
        super().__init__()
        self.critic = deepcopy(critic).requires_grad_(True)
        linear = [layer for layer in self.critic.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise IncompatibleError("the critic has no linear layer, beside which a head for labels could be")
        weight = linear[-1].weight
        drawn = torch.randn(num_classes, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        self.head = nn.Parameter(drawn.to(weight))
        self._features: Tensor | None = None
        linear[-1].register_forward_pre_hook(self._note)

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``[M]``, higher where images look real, and label scores ``[M, K]``."""
        values = self.critic(images)
        features, self._features = self._features, None
        assert features is not None
        return values, features @ self.head.T

    def penalty(self, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
        """How far the gradient's norm is from 1 between real and drawn images (Gulrajani et al., Eq. 3)."""
        between = torch.lerp(fake, real, share).requires_grad_()
        (gradient,) = torch.autograd.grad(self(between)[0].sum(), between, create_graph=True)
        gap: Tensor = gradient.flatten(1).norm(dim=1) - 1
        return gap.square().mean()
