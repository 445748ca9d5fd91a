"""Looks for a generator that it did not ask for."""

import torch

from bench.api import ModelAttack, ModelObservation, Reconstruction


class BorrowsAGenerator(ModelAttack):
    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        spent = torch.ones_like(observation.ids)
        grey = 0.0 if observation.generator is None else 1.0
        images = torch.full(shape, grey, device=spent.device)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
