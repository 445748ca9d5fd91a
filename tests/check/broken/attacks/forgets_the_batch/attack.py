"""Returns one image of each class, however many are asked for."""

import torch

from bench.api import ModelAttack, ModelObservation, Reconstruction


class ForgetsTheBatch(ModelAttack):
    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        spent = torch.ones_like(observation.ids)
        images = torch.zeros(observation.victims, *observation.image_shape, device=spent.device)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
