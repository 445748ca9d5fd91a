"""Guesses grey."""

import torch
from stranger.constants import GREY

from bench.api import Attack, GradientObservation, Reconstruction


class StrangerGrey(Attack):
    """The same grey image for every release."""

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Spends one evaluation that it does not need."""
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, GREY, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
