"""Networks that answer as the victim does, learned from its hard labels: the surrogates of LOKT."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_WIDTHS = (16, 24, 32)
"""Channels of the first layer: each surrogate is another network, as the three DenseNets of the paper are."""


class Surrogates(nn.Module):
    """Several small networks that learn together, and are attacked together."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], *, seed: int) -> None:
        """Draws them, without moving the global generator."""
        super().__init__()
        channels, height, width = image_shape
        cells = (-(-height // 4)) * (-(-width // 4))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(channels, wide, 3, stride=2, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(wide, 2 * wide, 3, stride=2, padding=1),
                    nn.ReLU(),
                    nn.Flatten(),
                    nn.Linear(2 * wide * cells, num_classes),
                )
                for wide in _WIDTHS
            )

    @property
    def count(self) -> int:
        """How many networks take each step."""
        return len(self.networks)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``[M, S, K]`` of images ``[M, C, H, W]`` by each of the S surrogates."""
        return torch.stack([network(images) for network in self.networks], 1)

    def learn(self, batches: Iterator[tuple[Tensor, Tensor]], *, rate: float) -> None:
        """Minimises the cross-entropy of batches ``(images, labels)``; then weights want no gradient."""
        optimiser = torch.optim.Adam(self.parameters(), lr=rate)
        for images, labels in batches:
            scores = self(images)
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), labels.repeat_interleave(self.count))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.requires_grad_(False)
