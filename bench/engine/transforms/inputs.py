"""The space in which an attacker searches: images, or what a known defense makes clients compute on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.errors import IncompatibleError
from bench.api.observation import GradientObservation
from bench.api.smashed import SmashedObservation
from bench.api.transform import InputTransform
from bench.engine.transforms.imitated import Imitations, imitations
from bench.engine.transforms.restoration import Restoration

LEARNING = 0.4
"""The largest share of a budget that goes into learning to undo a transform."""


def imitated(
    observation: GradientObservation | SmashedObservation, *, seed: int, number: int = 3
) -> Imitations | None:
    """Copies of what clients are known to turn their images into; None where they are not known to.

    Args:
        observation: with auxiliary images, if there is a transform.
        seed: of what is learned. No release is looked at, so that no evaluations are spent.
        number: of copies.

    Raises:
        IncompatibleError: a transform is to be imitated without auxiliary images.
    """
    transform = None if observation.defense is None else observation.defense.transform
    if transform is None:
        return None
    if observation.auxiliary is None:
        raise IncompatibleError("auxiliary images are needed to imitate what clients do to theirs")
    known = _moved(observation.auxiliary, observation.ids.device)
    return imitations(transform, known, num_classes=observation.num_classes, seed=seed, number=number)


def _moved(images: ImageSet, device: torch.device) -> ImageSet:
    return ImageSet(images.images.to(device), images.labels.to(device))


@dataclass(frozen=True, kw_only=True)
class InputSpace:
    """What an attack on gradients searches, and the way from there to images.

    Attributes:
        observation: the attack's own, in which images have the shape of the clients' inputs.
        budget: evaluations that are left for the search.
        learning: evaluations that the way back costs.
        transform: of the clients' inputs, as the defense makes it public; None: they are images.
        auxiliary: the attacker's images; None without a transform.
        num_classes: K.
        seed: of what is learned.
    """

    observation: GradientObservation
    budget: int
    learning: int = 0
    transform: InputTransform | None = None
    auxiliary: ImageSet | None = None
    num_classes: int
    seed: int

    @classmethod
    def of(cls, observation: GradientObservation, *, budget: int, seed: int) -> Self:
        """The space of the images, unless the attacker knows of a transform of the clients' inputs.

        Raises:
            IncompatibleError: a transform is to be undone without auxiliary images.
        """
        transform = None if observation.defense is None else observation.defense.transform
        classes = observation.num_classes
        if transform is None:
            return cls(observation=observation, budget=budget, num_classes=classes, seed=seed)
        if observation.auxiliary is None:
            raise IncompatibleError("auxiliary images are needed to undo what clients do to theirs")
        learning = min(Restoration().training_steps, int(LEARNING * budget))
        return cls(
            observation=replace(observation, image_shape=transform.shape(observation.image_shape)),
            budget=budget - learning,
            learning=learning,
            transform=transform,
            auxiliary=observation.auxiliary,
            num_classes=classes,
            seed=seed,
        )

    def project(self, point: Tensor) -> Tensor:
        """The nearest inputs ``[N, D]`` that a client could have."""
        if self.transform is None:
            return point.clamp(0, 1)
        shape = (self.observation.batch_size, *self.observation.image_shape)
        return self.transform.project(point.unflatten(1, shape)).flatten(1)

    def images(self, found: Tensor) -> Tensor:
        """The images ``[N, B, C, H, W]`` that clients made the inputs ``[N, B, *shape]`` of."""
        if self.transform is None or self.auxiliary is None:
            return found
        owned = _moved(self.auxiliary, found.device)
        imitation = self.transform.learn(owned, num_classes=self.num_classes, seed=self.seed)
        inputs = self.transform.project(found.detach().float().nan_to_num(0.5))
        return Restoration(steps=self.learning)(inputs, imitation, owned, seed=self.seed)
