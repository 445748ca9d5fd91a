"""The independent evaluator of recognition: another family than every victim."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from bench.models.base import Shape, draw_kaiming


class Evaluator(nn.Module):
    """A small VGG-like network with BatchNorm, max pooling and dropout."""

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for images ``[C, H, W]``; H and W are at least 8."""
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for wide in (16, 32, 64):
            layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            channels = wide
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.classifier = nn.Linear(64 * (height // 8) * (width // 8), num_classes)

    @classmethod
    def build(cls, num_classes: int, image_shape: Shape) -> Self:
        """The network, without moving the global generator; call ``initialise`` or load a state."""
        with torch.random.fork_rng(devices=[]):
            return cls(num_classes, image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[B, K]`` of images ``[B, C, H, W]`` in [0, 1]."""
        scores: Tensor = self.classifier(self.features((images - 0.5) / 0.5))
        return scores

    def pooled(self, images: Tensor) -> Tensor:
        """What the classifier sees of images ``[B, C, H, W]``, averaged over the image: ``[B, 64]``."""
        features: Tensor = self.features((images - 0.5) / 0.5)
        pooled: Tensor = features.unflatten(1, (64, -1)).mean(2)
        return pooled

    def initialise(self, generator: torch.Generator) -> None:
        """Kaiming-normal weights, from the generator alone."""
        draw_kaiming(self, generator)
