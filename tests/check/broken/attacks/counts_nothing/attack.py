"""Reports evaluations that it never made."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class CountsNothing(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        spent = torch.full_like(observation.ids, budget)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
