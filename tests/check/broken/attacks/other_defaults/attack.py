"""Its card and its constructor disagree."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class OtherDefaults(Attack):
    def __init__(self, *, steps: int = 20) -> None:
        self.steps = steps

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
