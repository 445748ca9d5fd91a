"""A Gaussian bottleneck in front of a classifier (Alemi, Fischer, Dillon, Murphy, ICLR 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHIFT = 5.0
"""What is taken off before the softplus, so that a new bottleneck is almost free of noise."""
LEAST = 1e-6
"""No standard deviation is smaller: its logarithm must stay finite."""


class Bottleneck(nn.Module):
    """The last linear layer of a classifier, led through a code z of few numbers.

    ``q(z|x) = N(mean(f), diag(deviation(f)^2))`` of the features f, and scores ``linear(z)``. Without a draw
    z is its mean: this is how the network answers everywhere but in its own training.

    Attributes:
        mean: features ``[..., F]`` -> means ``[..., K]``.
        spread: features ``[..., F]`` -> what becomes the standard deviations.
        classifier: codes ``[..., K]`` -> scores.
    """

    def __init__(self, features: int, size: int, classes: int) -> None:
        """Builds the layers; call :meth:`initialise` or load a state."""
        super().__init__()
        self.mean = nn.Linear(features, size)
        self.spread = nn.Linear(features, size)
        self.classifier = nn.Linear(size, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Scores of the mean code."""
        scores: Tensor = self.classifier(self.mean(features))
        return scores

    def code(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations ``[..., K]`` of q(z|x)."""
        return self.mean(features), nn.functional.softplus(self.spread(features) - SHIFT) + LEAST

    def draw(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scores of a code drawn from q(z|x), and how far q(z|x) is from N(0, 1), ``[...]`` in nats."""
        mean, deviation = self.code(features)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return self.classifier(mean + deviation * noise), divergence(mean, deviation)

    def initialise(self, generator: torch.Generator) -> None:
        """Draws every layer from U(-1/sqrt(fan in), 1/sqrt(fan in)), which is PyTorch's default."""
        for layer in (self.mean, self.spread, self.classifier):
            bound = float(layer.in_features) ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """``KL(N(mean, deviation^2) || N(0, 1))`` in nats, summed over the last dimension.

    Args:
        mean: ``[..., K]``.
        deviation: ``[..., K]``, positive.
    """
    return 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(-1)
