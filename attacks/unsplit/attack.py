"""UnSplit (Erdogan, Küpçü, Çiçek, WPES 2022): images and a client's weights, both from activations alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, islice, repeat

import torch
from torch import Tensor, nn

from bench.api import Reconstruction, SmashedAttack, SmashedObservation
from bench.engine import total_variation
from bench.models.split import ClientHalf

_GREY = 0.5
"""Every pixel's start."""


class UnSplit(SmashedAttack):
    """Coordinate descent over images and a clone of the client's half, in turns."""

    def __init__(
        self,
        *,
        image_rate: float = 1e-2,
        clone_rate: float = 1e-3,
        steps: int = 20,
        tv: float = 0.5,
        energy: float = 0.5,
    ) -> None:
        """Sets both learning rates, the length of a turn, and the weights of the image priors."""
        self.image_rate = image_rate
        self.clone_rate = clone_rate
        self.steps = steps
        self.tv = tv
        self.energy = energy

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """All images of all victims share one clone, for they left through one client's half."""
        clone = ClientHalf.drawn(
            observation.model, observation.image_shape, seed=seed, device=observation.activations.device
        )
        victims, batch = observation.activations.shape[:2]
        size = (victims, batch, *observation.image_shape)
        images = torch.full(size, _GREY, device=observation.activations.device).requires_grad_()
        of_images = torch.optim.Adam([images], lr=self.image_rate, amsgrad=True)
        of_clone = torch.optim.Adam(clone.parameters(), lr=self.clone_rate, amsgrad=True)
        for turn_of_images in islice(self._turns(), budget):
            distance = _distance(clone, images, observation.activations)
            prior = self.tv * total_variation(images) + self.energy * images.square().flatten(1).mean(1)
            optimiser = of_images if turn_of_images else of_clone
            optimiser.zero_grad()
            (distance + prior).sum().backward()
            optimiser.step()
            with torch.no_grad():
                images.clamp_(0, 1)
        with torch.no_grad():
            cost = _distance(clone, images, observation.activations)
        spent = torch.full((victims,), budget, dtype=torch.long, device=images.device)
        return Reconstruction(images=_stretched(images.detach()), cost=cost, evaluations=spent)

    def _turns(self) -> Iterator[bool]:
        """Endless: whether the next step is one of the images, or one of the clone."""
        return cycle(chain(repeat(True, self.steps), repeat(False, self.steps)))


def _distance(clone: nn.Module, images: Tensor, activations: Tensor) -> Tensor:
    """Mean squared error of each victim's activations, ``[N]``."""
    made: Tensor = clone(images.flatten(0, 1))
    error: Tensor = made.view_as(activations) - activations
    return error.square().flatten(1).mean(1)


def _stretched(images: Tensor) -> Tensor:
    """Every image over the full range [0, 1]: a clone's first layer leaves open how strong contrasts are."""
    low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
    return (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).eps)
