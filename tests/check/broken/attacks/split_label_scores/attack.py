"""Returns scores of classes as labels."""

import torch

from bench.api import Reconstruction, SmashedAttack, SmashedObservation


class SplitLabelScores(SmashedAttack):
    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        scores = torch.rand(shape[:2], generator=torch.Generator().manual_seed(seed)).to(images.device)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent, labels=scores)
