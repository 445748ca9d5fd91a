"""Looks for auxiliary images without having declared it."""

import torch

from bench.api import Reconstruction, SmashedAttack, SmashedObservation


class SplitBorrowsImages(SmashedAttack):
    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        grey = 0.5 if observation.auxiliary is None else observation.auxiliary.images.mean()
        images = torch.full(shape, float(grey), device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
