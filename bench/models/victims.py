"""Victim architectures. Normalisation is part of the model: all take images in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from bench.api.errors import IncompatibleError
from bench.api.threat import LocalTraining
from bench.models.base import Layered, Shape, VictimModel, draw_kaiming, draw_uniform, halved
from bench.models.resnet import ResNet8, ResNet18, frozen, sharing


class LeNet(Layered):
    """The sigmoid LeNet of the gradient-inversion literature (Zhu et al., NeurIPS 2019).

    Three 5x5 convolutions with 12 channels and strides 2, 2, 1, then one linear layer. At round 0 all
    weights and biases are uniform in (-0.5, 0.5), as published: the wide start is what makes its gradients
    so invertible.
    """

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for images ``[C, H, W]`` of any size."""
        super().__init__()
        channels, height, width = image_shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=1, padding=2),
            nn.Sigmoid(),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(12 * halved(height, 2) * halved(width, 2), num_classes)

    def layers(self) -> list[nn.Module]:
        """The body's and the classifier."""
        return [*self.body, self.classifier]

    @staticmethod
    def draw(network: nn.Module, generator: torch.Generator) -> None:
        """Draws all weights and biases from U(-0.5, 0.5)."""
        for parameter in network.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)


class _Centred(nn.Module):
    """Images in [0, 1] as the layers take them: in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) / 0.5


class ConvNet(Layered):
    """A plain ReLU network without BatchNorm: three convolutions, average pooling and a linear layer.

    Its features are non-negative, as the label rules of the literature require. The initialisation is
    PyTorch's default (Kaiming uniform, a = sqrt 5).
    """

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for images ``[C, H, W]``; H and W are at least 5."""
        super().__init__()
        channels, height, width = image_shape
        self.centred = _Centred()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=1, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(64 * (halved(height, 2) // 2) * (halved(width, 2) // 2), num_classes)

    def layers(self) -> list[nn.Module]:
        """What centres the images, the body's and the classifier."""
        return [self.centred, *self.body, self.classifier]

    @staticmethod
    def draw(network: nn.Module, generator: torch.Generator) -> None:
        """Draws every layer from U(-1/sqrt(fan in), 1/sqrt(fan in)), which is PyTorch's default."""
        draw_uniform(network, generator)


class MLP(Layered):
    """A fully connected ReLU network: pixels -> width -> width -> classes.

    The gradient of its first layer is an outer product with the image itself: for B = 1 it gives the image
    away exactly (Phong et al. 2018). The initialisation is PyTorch's default.
    """

    def __init__(self, num_classes: int, image_shape: Shape, *, width: int = 512) -> None:
        """Builds the network for images ``[C, H, W]`` of any size; ``width`` units in each hidden layer."""
        super().__init__()
        self.centred = _Centred()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(prod(image_shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.classifier = nn.Linear(width, num_classes)

    def layers(self) -> list[nn.Module]:
        """What centres the images, the body's and the classifier."""
        return [self.centred, *self.body, self.classifier]

    @staticmethod
    def draw(network: nn.Module, generator: torch.Generator) -> None:
        """Draws every layer as PyTorch does by default."""
        draw_uniform(network, generator)


class CNN(Layered):
    """Three ReLU convolutions, of which the last two pool, and two linear layers."""

    pooled = (False, True, True)
    """Which convolutions are followed by a pooling."""

    def __init__(self, num_classes: int, image_shape: Shape) -> None:
        """Builds the network for inputs ``[C, H, W]``.

        Raises:
            IncompatibleError: the inputs are too small for its poolings.
        """
        super().__init__()
        channels, height, width = image_shape
        shrunk = 2 ** sum(self.pooled)
        if min(height, width) < shrunk:
            raise IncompatibleError(
                f"the network halves inputs until {shrunk} pixels are one, and these have {height}x{width}"
            )
        layers: list[nn.Module] = []
        for wide, pooled in zip((16, 32, 64), self.pooled, strict=True):
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            channels = wide
        features = channels * (height // shrunk) * (width // shrunk)
        layers += [nn.Flatten(), nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, num_classes)]
        self.body = nn.Sequential(*layers)

    def layers(self) -> list[nn.Module]:
        """The body's."""
        return [*self.body]

    @staticmethod
    def draw(network: nn.Module, generator: torch.Generator) -> None:
        """Kaiming-normal weights and zero biases (He et al. 2015)."""
        draw_kaiming(network, generator)


class PooledCNN(CNN):
    """The same with a pooling after each convolution."""

    pooled = (True, True, True)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a federation trains one architecture: a server steps along the mean of the clients' releases.

    Attributes:
        epochs: passes over the private training split.
        images_per_round: images of all clients of a round together.
        learning_rate: peak rate of the server; warmed up, then cosine to zero.
        momentum: of the server.
        weight_decay: of the server, on all weights.
        server: ``sgd`` or ``adam``; see :class:`~bench.victims.server.Server`. In split learning both halves
            train with Adam.
        clip_norm: an ``sgd`` server scales an averaged update down to this norm, which keeps a wide start
            from diverging. It is no defense: the server has already seen the releases.
        local_epochs: passes of a client over its own images before it sends.
        local_batch: images of one local step; 0: all at once.
        local_rate: learning rate of local steps.
        clients: that a round averages; 0: as many as make ``images_per_round``.
    """

    epochs: float
    images_per_round: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    server: str = "sgd"
    clip_norm: float = 1.0
    local_epochs: int = 1
    local_batch: int = 0
    local_rate: float = 0.05
    clients: int = 0

    @property
    def local(self) -> LocalTraining:
        """What a client does with its images before it sends."""
        return LocalTraining(
            epochs=self.local_epochs, batch_size=self.local_batch, learning_rate=self.local_rate
        )


@dataclass(frozen=True)
class Architecture:
    """A victim architecture and the schedule that trains it.

    Attributes:
        build: takes ``num_classes``, ``image_shape`` and the architecture's parameters by name.
        schedule: that trains it.
        grouped: that trains it with ``norm=group``; None: the same.
    """

    build: Callable[..., VictimModel]
    schedule: Schedule
    grouped: Schedule | None = None

    def schedule_for(self, parameters: Mapping[str, object]) -> Schedule:
        """How it is trained with these parameters."""
        return self.grouped if self.grouped and parameters.get("norm") == "group" else self.schedule


_RESNET = Schedule(epochs=8, images_per_round=32, learning_rate=0.1, weight_decay=5e-4)
# GroupNorm makes features that differ little between images: they need larger steps.
_GROUPED = replace(_RESNET, learning_rate=0.4)
_CNN = Schedule(epochs=8, images_per_round=32, learning_rate=0.002, server="adam")

ARCHITECTURES: dict[str, Architecture] = {
    "lenet": Architecture(
        LeNet, Schedule(epochs=12, images_per_round=32, learning_rate=0.015, server="adam")
    ),
    "convnet": Architecture(
        ConvNet, Schedule(epochs=8, images_per_round=32, learning_rate=0.1, weight_decay=3e-3)
    ),
    "mlp": Architecture(MLP, Schedule(epochs=8, images_per_round=32, learning_rate=0.1, weight_decay=5e-4)),
    "resnet8": Architecture(ResNet8, _RESNET, _GROUPED),
    "resnet18": Architecture(ResNet18, _RESNET, _GROUPED),
    "resnet18_shared": Architecture(sharing, _RESNET),
    "resnet18_frozen": Architecture(frozen, _RESNET),
    "cnn": Architecture(CNN, _CNN),
    "cnn_pooled": Architecture(PooledCNN, _CNN),
}
