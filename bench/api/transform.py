"""What an adaptive attacker knows of how clients change images before their first layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from bench.api.dataset import ImageSet


class Imitation(Protocol):
    """The attacker's own copy of the clients' transform, with everything learned that a client keeps secret.

    ``inputs`` are what a client's network takes, ``[M, *shape]``; images are ``[M, C, H, W]``.
    """

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What a client would feed its network; without labels the imitation guesses them."""

    def perturbed(self, inputs: Tensor) -> Tensor:
        """The transformed image inside an input."""

    def images(self, inputs: Tensor) -> Tensor:
        """The original image as far as an input tells it by itself."""


class InputTransform(Protocol):
    """A public transform of the clients' inputs."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of what a client's network takes."""

    def project(self, inputs: Tensor) -> Tensor:
        """The nearest input that a client could have made, ``[..., *shape]``."""

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Imitation:
        """Trains the attacker's copy on its own images."""
