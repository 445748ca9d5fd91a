"""Architectures that are cut in two: the client's half sees the images, the server's half decides."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api.errors import IncompatibleError
from bench.models.base import Layered, Shape, VictimModel

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

    def remade(self, image_shape: Shape) -> SplitModel:
        """The same architecture for inputs of another shape; draw its weights with ``initialise``."""
        raise NotImplementedError


class CutModel(SplitModel):
    """An architecture whose first layers are the client's half and whose other layers are the server's.

    Args:
        architecture: of the whole network.
        convolutions: that the client holds, with all that follows them up to the next one.
        num_classes: K.
        image_shape: (C, H, W).
    """

    def __init__(
        self, architecture: type[Layered], convolutions: int, num_classes: int, image_shape: Shape
    ) -> None:
        super().__init__()
        self.architecture, self.convolutions = architecture, convolutions
        self.num_classes, self.image_shape = num_classes, image_shape
        layers = architecture(num_classes, image_shape).layers()
        starts = [at for at, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Flatten)]
        self.client = nn.Sequential(*layers[: starts[convolutions]])
        self.server = nn.Sequential(*layers[starts[convolutions] :])

    def initialise(self, generator: torch.Generator) -> None:
        """As the whole network does."""
        self.architecture.draw(self, generator)

    def remade(self, image_shape: Shape) -> CutModel:
        """The same cut of the same architecture."""
        with torch.random.fork_rng(devices=[]):
            return CutModel(self.architecture, self.convolutions, self.num_classes, image_shape)


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
