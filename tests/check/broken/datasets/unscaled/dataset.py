"""Has grey values from 0 to 255."""

import torch

from bench.api import Dataset, ImageSet, Splits


class Unscaled(Dataset):
    num_classes = 2
    image_shape = (1, 8, 8)

    def splits(self, *, seed: int) -> Splits:
        generator = torch.Generator().manual_seed(seed)
        images = 255 * torch.rand(300, 1, 8, 8, generator=generator)
        parts = [ImageSet(part, torch.arange(100) % 2) for part in images.split(100)]
        return Splits(private_train=parts[0], private_test=parts[1], auxiliary=parts[2])
