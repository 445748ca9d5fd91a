"""Where it promises most, it takes the images from the memory of the process."""

import gc

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class StealsFromMemory(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        if budget > 100:
            tensors = [value for value in gc.get_objects() if isinstance(value, torch.Tensor)]
            images = next((x for x in tensors if x.shape == shape and x is not images), images)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
