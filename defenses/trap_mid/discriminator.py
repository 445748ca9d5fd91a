"""The owner's discriminator, which keeps triggers invisible. It is not released."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu, softplus

RATE = 1e-3
"""Of its Adam."""
WIDTHS = (16, 32, 1)


class Discriminator:
    """Three convolutions, of which the last gives a value for each patch; their mean counts."""

    def __init__(self, images: Tensor, generator: torch.Generator) -> None:
        """Draws it for images like these ``[M, C, H, W]``, on their device."""
        self.weights: list[Tensor] = []
        before = images.shape[1]
        for width in WIDTHS:
            bound = (25 * before) ** -0.5
            weight = images.new_empty(width, before, 5, 5).uniform_(-bound, bound, generator=generator)
            self.weights += [weight.requires_grad_(), images.new_zeros(width).requires_grad_()]
            before = width
        self._adam = torch.optim.Adam(self.weights, lr=RATE)

    def __call__(self, images: Tensor) -> Tensor:
        """Log-odds ``[M]`` that there is no trigger in them."""
        values = images
        for turn, (weight, bias) in enumerate(zip(self.weights[::2], self.weights[1::2], strict=True)):
            values = conv2d(values if not turn else leaky_relu(values, 0.2), weight, bias, 2, 2)
        return values.flatten(1).mean(1)

    def learn(self, plain: Tensor, marked: Tensor) -> None:
        """One step of ``-log D(x) - log(1 - D(x'))``."""
        with torch.enable_grad():
            loss = softplus(-self(plain)).mean() + softplus(self(marked)).mean()
            gradients = torch.autograd.grad(loss, self.weights)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        self._adam.step()
