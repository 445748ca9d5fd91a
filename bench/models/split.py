"""Architectures that are cut in two: the client's half sees the images, the server's half decides."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api.errors import IncompatibleError
from bench.models.base import Shape, VictimModel, draw_kaiming, halved

Loss = Callable[[Tensor, Tensor], Tensor]
"""``scores [M, K], targets -> scalar``."""


class SplitModel(VictimModel):
    """A classifier that is the server's half after the client's.

    Attributes:
        client: inputs ``[M, C, H, W]`` -> activations ``[M, *Z]``.
        server: activations -> class scores ``[M, K]``.
        num_classes: K.
        image_shape: (C, H, W) of the client's inputs.
    """

    client: nn.Module
    server: nn.Module
    num_classes: int
    image_shape: Shape

    def embed(self, images: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` as the client's half takes them, for one who knows of no defense."""
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[M, K]`` of images ``[M, C, H, W]`` in [0, 1]."""
        scores: Tensor = self.server(self.client(self.embed(images)))
        return scores

    def training_loss(
        self, activations: Tensor, targets: Tensor, *, still: Tensor | None = None, loss: Loss = cross_entropy
    ) -> Tensor:
        """What the server minimises over its weights; its gradient at the cut is all that a client gets.

        Args:
            activations: ``[M, *Z]``.
            targets: ``[M]`` int64, or ``[M, K]`` probabilities.
            still: the same values, for the parts of the server that return no gradient to the client; None:
                the activations, detached.
            loss: of scores ``[M, K]`` and targets.
        """
        return loss(self.server(activations), targets)

    def remade(self, image_shape: Shape) -> Self:
        """The same architecture for inputs of another shape; draw its weights with ``initialise``."""
        with torch.random.fork_rng(devices=[]):
            return type(self)(self.num_classes, image_shape)


class ClientHalf(nn.Module):
    """The client's half as an attacker holds it: it takes images, or what a defense makes of them."""

    def __init__(self, network: SplitModel, image_shape: Shape) -> None:
        """Uses the network's own weights."""
        super().__init__()
        self.network = network
        self.image_shape = tuple(image_shape)

    @classmethod
    def drawn(cls, architecture: nn.Module, image_shape: Shape, *, seed: int, device: torch.device) -> Self:
        """A half of the attacker's own: the architecture with weights drawn from ``seed``.

        Raises:
            IncompatibleError: the architecture is not cut in two.
        """
        network = copy.deepcopy(architecture).cpu()
        if not isinstance(network, SplitModel):
            raise IncompatibleError("the attack needs an architecture that is cut into two halves")
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network.to(device), image_shape)

    def forward(self, inputs: Tensor) -> Tensor:
        """Activations ``[M, *Z]`` of images ``[M, C, H, W]`` or of the client's own inputs."""
        plain = tuple(inputs.shape[1:]) == self.image_shape
        activations: Tensor = self.network.client(self.network.embed(inputs) if plain else inputs)
        return activations


class SplitNet(SplitModel):
    """Two convolutions at the client; one convolution and two linear layers at the server; ReLU.

    The cut is shallow: the first block keeps the resolution, only the second one pools.
    """

    pooled_blocks = (False, True)
    """Which of the client's two blocks pool."""

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for inputs ``[C, H, W]``.

        Raises:
            IncompatibleError: the inputs are too small for its poolings.
        """
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape
        channels, height, width = image_shape
        shrunk = 2 ** (1 + sum(self.pooled_blocks))
        if min(height, width) < shrunk:
            raise IncompatibleError(
                f"the network halves inputs until {shrunk} pixels are one, and these have {height}x{width}"
            )
        layers: list[nn.Module] = []
        for wide, pooled in zip((16, 32), self.pooled_blocks, strict=True):
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            channels = wide
        self.client = nn.Sequential(*layers)
        self.server = nn.Sequential(
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (height // shrunk) * (width // shrunk), 64),
            nn.ReLU(),
            nn.Linear(64, num_classes),
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Kaiming-normal weights and zero biases (He et al. 2015)."""
        draw_kaiming(self, generator)


class DeepSplitNet(SplitNet):
    """The same with pooling in both of the client's blocks: a deep cut."""

    pooled_blocks = (True, True)


class SplitLeNet(SplitModel):
    """The sigmoid LeNet of the gradient-inversion literature, cut after its second convolution.

    Layers and start are those of :class:`~bench.models.victims.LeNet`.
    """

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for inputs ``[C, H, W]`` of any size."""
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape
        channels, height, width = image_shape
        self.client = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
        )
        self.server = nn.Sequential(
            nn.Conv2d(12, 12, 5, stride=1, padding=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(12 * halved(height, 2) * halved(width, 2), num_classes),
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights and biases from U(-0.5, 0.5)."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
