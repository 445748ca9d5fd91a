"""Cuts its splits so that they share images."""

import torch

from bench.api import Dataset, ImageSet, Splits


class Overlapping(Dataset):
    num_classes = 2
    image_shape = (1, 8, 8)

    def splits(self, *, seed: int) -> Splits:
        generator = torch.Generator().manual_seed(seed)
        everything = ImageSet(torch.rand(300, 1, 8, 8, generator=generator), torch.arange(300) % 2)
        first = ImageSet(everything.images[:200], everything.labels[:200])
        second = ImageSet(everything.images[100:], everything.labels[100:])
        other = ImageSet(torch.rand(100, 1, 8, 8, generator=generator), torch.arange(100) % 2)
        return Splits(private_train=first, private_test=other, auxiliary=second)
