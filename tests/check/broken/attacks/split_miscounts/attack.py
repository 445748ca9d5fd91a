"""Takes two slopes through the client's half for each that it reports."""

import torch

from bench.api import IncompatibleError, Reconstruction, SmashedAttack, SmashedObservation


class SplitMiscounts(SmashedAttack):
    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        if observation.client is None:
            raise IncompatibleError("it differentiates the client's half")
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device).requires_grad_()
        for _ in range(2 * budget):
            made = observation.client(images.flatten(0, 1)).view_as(observation.activations)
            torch.autograd.grad((made - observation.activations).square().sum(), images)
        spent = torch.full_like(observation.ids, budget)
        return Reconstruction(images=images.detach(), cost=spent.float(), evaluations=spent)
