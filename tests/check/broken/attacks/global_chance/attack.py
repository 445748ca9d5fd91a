"""Draws its images from the global random state."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class GlobalChance(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.rand(shape, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
