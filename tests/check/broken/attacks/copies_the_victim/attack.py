"""Evaluates a copy of the victim's network twice for each evaluation that it reports."""

import copy

import torch

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine.gradients import gradient_map


class CopiesTheVictim(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        copied = copy.deepcopy(observation.model)
        gradients = gradient_map(copied, observation.parameters, per_victim_weights=False)
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        targets = torch.full((*shape[:2], observation.num_classes), 0.1, device=images.device)
        for _ in range(2 * budget):
            gradients(images, targets)
        spent = torch.full_like(observation.ids, budget)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
