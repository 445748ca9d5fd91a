"""Returns grey values in 0..200."""

import torch

from bench.api import Reconstruction, SmashedAttack, SmashedObservation


class SplitWrongUnit(SmashedAttack):
    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 200.0, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
