"""PRECODE's variational bottleneck in front of a classifier (Scheliga et al. 2022, Section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-6
"""No standard deviation is smaller: its logarithm must stay finite."""


class Bottleneck(nn.Module):
    """The last linear layer of a classifier, which sees its features through a code b.

    ``(mu, s) = E(f)``, ``sigma = softplus(s)``, ``b = mu + sigma * eps`` and scores ``classifier(D(b))`` of
    the features f, with linear E and D. Without a draw b is its mean.

    Attributes:
        encoder: E, features ``[..., F]`` -> ``[..., 2 K]``.
        decoder: D, codes ``[..., K]`` -> features ``[..., F]``.
        classifier: the network's own layer, features -> scores.
    """

    def __init__(self, classifier: nn.Linear, size: int) -> None:
        """Builds E and D; call :meth:`initialise` or load a state."""
        super().__init__()
        self.size = size
        self.encoder = nn.Linear(classifier.in_features, 2 * size)
        self.decoder = nn.Linear(size, classifier.in_features)
        self.classifier = classifier

    def forward(self, features: Tensor) -> Tensor:
        """Scores of the mean code."""
        return self.scores(self.code(features)[0])

    def code(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations ``[..., K]``."""
        mean, spread = self.encoder(features).chunk(2, dim=-1)
        return mean, nn.functional.softplus(spread) + LEAST

    def scores(self, code: Tensor) -> Tensor:
        """Scores of codes ``[..., K]``."""
        result: Tensor = self.classifier(self.decoder(code))
        return result

    def initialise(self, generator: torch.Generator) -> None:
        """Draws E and D from U(-1/sqrt(fan in), 1/sqrt(fan in)), which is PyTorch's default."""
        for layer in (self.encoder, self.decoder):
            bound = float(layer.in_features) ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """``KL(N(mean, deviation^2) || N(0, 1))`` in nats, summed over the last dimension."""
    return 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(-1)
