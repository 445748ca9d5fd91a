"""ResNets with the stem for small images, and what their normalisation layers go by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from bench.models.base import Shape, VictimModel

_Norm = Callable[[int], nn.Module]
GROUPS, CHANNELS = 32, 2
"""At most so many groups of at least so many channels each.

32 groups is the choice of Wu and He (ECCV 2018). In narrow stages it would leave a group a single channel,
which is instance normalisation. Larger groups learn slowly on images with one background: there the
differences between the channels of a group are what is normalised, not those between places. After two passes
over 2,500 digits ResNet-8 of width 16 classifies 23 % of 600 with groups of 8 channels, 34 %
with 4 and 55 % with 2.
"""


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with the most groups that divide the channels and are neither too many nor too small."""
    fitting = (g for g in range(GROUPS, 1, -1) if channels % g == 0 and channels // g >= CHANNELS)
    return nn.GroupNorm(next(fitting, 1), channels)


class _Block(nn.Module):
    """Two 3x3 convolutions and the way around them (He et al. 2016, Fig. 5, left)."""

    def __init__(self, inside: int, outside: int, stride: int, norm: _Norm) -> None:
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


class ResNet(VictimModel):
    """A residual network for small images: a 3x3 stem without pooling (He et al. 2016, Section 4.2).

    With ``running`` false the BatchNorm layers normalise by the statistics of the batch they see, in
    training and in use: the mode of a client that computes a gradient. With ``running`` true they hold
    running statistics, and in evaluation mode normalise by those. GroupNorm has one mode and mixes no images.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        *,
        blocks: Sequence[int],
        width: int,
        norm: str = "batch",
        running: bool = False,
        shares_statistics: bool = False,
    ) -> None:
        """Builds the network.

        Args:
            num_classes: K.
            image_shape: (C, H, W).
            blocks: of each stage; each stage but the first halves the sides and doubles the channels.
            width: channels of the first stage.
            norm: ``batch`` or ``group``, see :func:`group_norm`.
            running: BatchNorm layers hold running statistics.
            shares_statistics: clients send the statistics of their batch along.
        """
        super().__init__()
        self.shares_statistics = shares_statistics
        by_batch = partial(nn.BatchNorm2d, track_running_stats=running)
        layer: _Norm = by_batch if norm == "batch" else group_norm
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], width, 3, 1, 1, bias=False), layer(width), nn.ReLU(),
        ]  # fmt: skip
        inside = width
        for number, count in enumerate(blocks):
            outside = width * 2**number
            for block in range(count):
                layers.append(_Block(inside, outside, 2 if number and not block else 1, layer))
                inside = outside
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
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
            elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)


class ResNet8(ResNet):
    """The smallest of He et al.'s 6n + 2 layers for small images, n = 1 (2016, Section 4.2).

    Deviation: a 1x1 convolution, not padding with zeros, leads around the blocks that change the shape, as
    in ResNet-18.
    """

    def __init__(self, num_classes: int, image_shape: Shape, *, width: int = 16, norm: str = "batch") -> None:
        """Builds the network; see :class:`ResNet`."""
        super().__init__(num_classes, image_shape, blocks=(1, 1, 1), width=width, norm=norm)


class ResNet18(ResNet):
    """ResNet-18 for images of 32x32 and larger."""

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        *,
        width: int = 64,
        norm: str = "batch",
        running: bool = False,
        shares_statistics: bool = False,
    ) -> None:
        """Builds the network; see :class:`ResNet`."""
        super().__init__(
            num_classes, image_shape, blocks=(2, 2, 2, 2), width=width, norm=norm, running=running,
            shares_statistics=shares_statistics,
        )  # fmt: skip


def sharing(num_classes: int, image_shape: Shape, *, width: int = 64) -> ResNet18:
    """ResNet-18 of a federation whose clients send the statistics of their batch along."""
    return ResNet18(num_classes, image_shape, width=width, shares_statistics=True)


def frozen(num_classes: int, image_shape: Shape, *, width: int = 64) -> ResNet18:
    """ResNet-18 in evaluation mode, by the statistics that PyTorch begins with: mean 0 and variance 1.

    That is what attacks on an untrained network in evaluation mode meet; no client ever changes them.
    """
    network = ResNet18(num_classes, image_shape, width=width, running=True)
    network.eval()
    return network
