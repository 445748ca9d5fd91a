"""The space in which an attacker searches: images, or what a known defense makes clients compute on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Generic, TypeVar

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
SeenT = TypeVar("SeenT", GradientObservation, SmashedObservation)


def _known(observation: GradientObservation | SmashedObservation) -> tuple[InputTransform, ImageSet] | None:
    """A known transform of the clients' inputs, and the attacker's images on the device of the search.

    Raises:
        IncompatibleError: there is a transform, and there are no images to learn it from.
    """
    transform = None if observation.defense is None else observation.defense.transform
    if transform is None:
        return None
    if observation.auxiliary is None:
        raise IncompatibleError("auxiliary images are needed to imitate or undo what clients do to theirs")
    owned, device = observation.auxiliary, observation.ids.device
    return transform, ImageSet(owned.images.to(device), owned.labels.to(device))


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
    known = _known(observation)
    if known is None:
        return None
    transform, owned = known
    return imitations(transform, owned, num_classes=observation.num_classes, seed=seed, number=number)


@dataclass(frozen=True, kw_only=True)
class InputSpace(Generic[SeenT]):
    """What an attack searches, and the way from there to images.

    Attributes:
        observation: the attack's own, in which images have the shape of the clients' inputs.
        budget: evaluations that are left for the search.
        seed: of what is learned.
        learning: evaluations that the way back costs.
        known: a transform of the clients' inputs, as the defense makes it public, and the attacker's images;
            None: inputs are images.
        removal: how the transform is undone.
    """

    observation: SeenT
    budget: int
    seed: int
    learning: int = 0
    known: tuple[InputTransform, ImageSet] | None = None
    removal: Restoration = field(default_factory=Restoration)

    @classmethod
    def of(
        cls, observation: SeenT, *, budget: int, seed: int, removal: Restoration | None = None
    ) -> InputSpace[SeenT]:
        """The space of the images, unless the attacker knows of a transform of the clients' inputs.

        Raises:
            IncompatibleError: a transform is to be undone without auxiliary images.
        """
        known, removal = _known(observation), removal or Restoration()
        if known is None:
            return InputSpace(observation=observation, budget=budget, seed=seed)
        learning = min(removal.training_steps, int(LEARNING * budget))
        return InputSpace(
            observation=replace(observation, image_shape=known[0].shape(observation.image_shape)),
            budget=budget - learning,
            seed=seed,
            learning=learning,
            known=known,
            removal=removal,
        )

    def nearest(self, inputs: Tensor) -> Tensor:
        """The nearest inputs ``[..., *shape]`` that a client could have."""
        return inputs.clamp(0, 1) if self.known is None else self.known[0].project(inputs)

    def project(self, point: Tensor) -> Tensor:
        """The same for each release's row of unknowns ``[N, D]``, which its inputs come first in."""
        shape = (self.observation.batch_size, *self.observation.image_shape)
        inputs, others = point[:, : prod(shape)], point[:, prod(shape) :]
        return torch.cat([self.nearest(inputs.unflatten(1, shape)).flatten(1), others], dim=1)

    def images(self, found: Tensor) -> Tensor:
        """The images ``[N, B, C, H, W]`` that clients made the inputs ``[N, B, *shape]`` of."""
        if self.known is None:
            return found
        transform, owned = self.known
        imitation = transform.learn(owned, num_classes=self.observation.num_classes, seed=self.seed)
        inputs = transform.project(found.detach().float().nan_to_num(0.5))
        removal = replace(self.removal, steps=self.learning)
        return removal(inputs, imitation, owned, seed=self.seed)
