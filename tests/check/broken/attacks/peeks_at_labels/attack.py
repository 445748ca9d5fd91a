"""Reads the private labels that its card does not ask for."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class PeeksAtLabels(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        if observation.labels is not None:
            raise ValueError("it sees labels")
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
