"""What can be said about the private images without looking at the release: the floor of every table."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import (
    BaseAttack,
    GradientObservation,
    IncompatibleError,
    ModelObservation,
    Reconstruction,
    SmashedObservation,
)

Seen = GradientObservation | SmashedObservation | ModelObservation


class Prior(BaseAttack[Seen]):
    """Guesses from auxiliary images alone."""

    def __init__(self, *, guess: str = "mean") -> None:
        """Sets the guess: the mean image, random images, or noise."""
        self.guess = guess

    def reconstruct(self, observation: Seen, *, budget: int, seed: int) -> Reconstruction:
        """The same guess for every victim, or one random image for each private one; spends no evaluation.

        Raises:
            IncompatibleError: the threat model has no auxiliary images.
        """
        known = _owned(observation).to(observation.ids.device)
        shape = (observation.victims, observation.batch_size)
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(observation.num_classes, shape, generator=generator)
        if self.guess == "mean":
            images = known.mean(0).expand(*shape, -1, -1, -1)
        elif self.guess == "noise":
            images = torch.rand(*shape, *observation.image_shape, generator=generator).to(known)
        else:
            chosen = torch.randint(len(known), shape, generator=generator)
            images = known[chosen.to(known.device)]
        spent = torch.zeros_like(observation.ids)
        return Reconstruction(
            images=images.contiguous(), cost=spent.float(), evaluations=spent, labels=labels.to(spent.device)
        )


def _owned(observation: Seen) -> Tensor:
    if isinstance(observation, ModelObservation):
        images = observation.images
    else:
        images = None if observation.auxiliary is None else observation.auxiliary.images
    if images is None:
        raise IncompatibleError("the prior needs auxiliary images")
    return images
