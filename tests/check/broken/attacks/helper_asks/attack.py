"""Leaves it to a helper to import the harness."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.helper_asks.parts.helper import GREY


class HelperAsks(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, GREY, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
