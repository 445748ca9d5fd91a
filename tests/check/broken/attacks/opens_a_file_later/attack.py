"""Opens the data set, but not where bench check looks for open files."""

import torch

from bench.api import Attack, GradientObservation, Reconstruction


class OpensAFileLater(Attack):
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.full(shape, 0.5, device=observation.ids.device)
        if budget > 100:
            from bench.plugins import build_dataset

            private = build_dataset("mnist5k", {}).splits(seed=0).private_train.images
            images = private[: len(images), None].expand(shape).contiguous()
        spent = torch.ones_like(observation.ids)
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent)
