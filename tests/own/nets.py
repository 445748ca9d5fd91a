"""Small networks as callers bring them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 12
IMAGE = (1, SIDE, SIDE)


def linear(classes: int = 4) -> nn.Sequential:
    """One linear layer: what a closed form reads out at once."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes))


def sigmoid_cnn(classes: int = 4) -> nn.Sequential:
    """As DLG was published for, but smaller."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(8, 8, 3, 1, 1), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(8 * 6 * 6, classes),
    )  # fmt: skip
    for value in network.parameters():
        nn.init.uniform_(value, -0.5, 0.5)
    return network


def normalised(classes: int = 4) -> nn.Sequential:
    """With a layer of BatchNorm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
    )


def blobs(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth random images ``[M, 1, 12, 12]`` and labels."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=chance)
    images = nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")
    return images, torch.randint(4, (count,), generator=chance)
