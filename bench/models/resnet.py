"""ResNet-18 with the stem for small images, and the modes of its BatchNorm layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bench.models.base import Shape, VictimModel


class _Block(nn.Module):
    """Two 3x3 convolutions and the way around them (He et al. 2016, Fig. 5, left)."""

    def __init__(self, inside: int, outside: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            norm(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            norm(outside),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.around = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), norm(outside))

    def forward(self, value: Tensor) -> Tensor:
        result: Tensor = torch.relu(self.body(value) + self.around(value))
        return result


class ResNet18(VictimModel):
    """ResNet-18 for images of 32x32 and larger: a 3x3 stem without pooling (He et al. 2016, Section 4.2).

    With ``running`` false the BatchNorm layers normalise by the statistics of the batch they see, in
    training and in use: the mode of a client that computes a gradient. With ``running`` true they hold
    running statistics, and in evaluation mode normalise by those.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        *,
        width: int = 64,
        running: bool = False,
        shares_statistics: bool = False,
    ) -> None:
        """Builds the network; ``width`` is the number of channels of the first stage."""
        super().__init__()
        self.shares_statistics = shares_statistics
        norm = partial(nn.BatchNorm2d, track_running_stats=running)
        stages = [width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = [
            nn.Conv2d(image_shape[0], width, 3, 1, 1, bias=False), norm(width), nn.ReLU(),
        ]  # fmt: skip
        inside = width
        for number, outside in enumerate(stages):
            stride = 1 if number == 0 else 2
            blocks += [_Block(inside, outside, stride, norm), _Block(outside, outside, 1, norm)]
            inside = outside
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(inside, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[B, K]`` of images ``[B, C, H, W]`` in [0, 1]."""
        scores: Tensor = self.classifier(self.body((images - 0.5) / 0.5))
        return scores

    def initialise(self, generator: torch.Generator) -> None:
        """He et al.'s weights for convolutions, PyTorch's default for the classifier, norms (1, 0)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(
                    layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(layer, nn.Linear):
                bound = float(layer.in_features) ** -0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)


def sharing(num_classes: int, image_shape: Shape) -> ResNet18:
    """ResNet-18 of a federation whose clients send the statistics of their batch along."""
    return ResNet18(num_classes, image_shape, shares_statistics=True)


def frozen(num_classes: int, image_shape: Shape) -> ResNet18:
    """ResNet-18 in evaluation mode, by the statistics that PyTorch begins with: mean 0 and variance 1.

    That is what attacks on an untrained network in evaluation mode meet; no client ever changes them.
    """
    network = ResNet18(num_classes, image_shape, running=True)
    network.eval()
    return network
