"""The client's own small classifier, whose input gradients make the maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import ImageSet

WIDTHS = (16, 32)
HIDDEN = 64
BATCH = 32
RATE = 2e-3
HEAD = 0.1
"""Gain of the last layer's first weights. The sum of all logits hardly learns, so that its input gradients
stay what they were at the start: with a small head beta is near -alpha, and more of the pixels are open to a
map."""
SHIFT = 2
"""Pixels by which batches are moved around at most, in both directions."""


class Surrogate(nn.Module):
    """Two convolutions of stride 2 and two linear layers; ReLU."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Builds the network for images (C, H, W)."""
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for wide in WIDTHS:
            layers += [nn.Conv2d(channels, wide, 5, stride=2, padding=2), nn.ReLU()]
            channels, height, width = wide, (height + 1) // 2, (width + 1) // 2
        layers += [nn.Flatten(), nn.Linear(channels * height * width, HIDDEN), nn.ReLU()]
        self.head = nn.Linear(HIDDEN, num_classes)
        self.body = nn.Sequential(*layers)

    def initialise(self, generator: torch.Generator) -> None:
        """Kaiming-normal weights and zero biases (He et al. 2015), and a small head."""
        for layer in [*self.body, self.head]:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.head.weight.mul_(HEAD)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[M, K]`` of images ``[M, C, H, W]`` in [0, 1]."""
        logits: Tensor = self.head(self.body(images))
        return logits


def train_surrogate(
    surrogate: Surrogate, data: ImageSet, *, epochs: int, generator: torch.Generator
) -> Surrogate:
    """Trains a surrogate in place with Adam, and freezes it.

    Args:
        surrogate: with its first weights.
        data: its owner's images, on the network's device.
        epochs: passes over them; the rate falls to zero along the last of all steps.
        generator: draws the batches and their shifts.
    """
    surrogate.requires_grad_(True)
    batches = [
        part
        for _ in range(epochs)
        for part in torch.randperm(len(data), generator=generator, device=generator.device).split(BATCH)
    ]
    optimiser = torch.optim.Adam(surrogate.parameters(), lr=RATE, fused=not data.images.is_meta)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, len(batches)))
    with torch.enable_grad():
        for index in batches:
            images = data.images[index].roll(_shift(generator), (2, 3))
            optimiser.zero_grad()
            cross_entropy(surrogate(images), data.labels[index]).backward()
            optimiser.step()
            schedule.step()
    surrogate.requires_grad_(False)
    optimiser.zero_grad()
    return surrogate


def _shift(generator: torch.Generator) -> tuple[int, int]:
    """How far a batch is moved down and to the right."""
    down, right = torch.randint(
        -SHIFT, SHIFT + 1, (2,), generator=generator, device=generator.device
    ).tolist()
    return down, right
