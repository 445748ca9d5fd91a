"""Looks for the private images in its observation."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class SeesTheImages(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        private = getattr(observation, "images", None)
        if private is not None:
            raise ValueError("it sees images")
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
