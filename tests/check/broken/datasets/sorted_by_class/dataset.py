"""Is cut without being shuffled."""

import torch

from bench.api import Dataset, ImageSet, Splits


class SortedByClass(Dataset):
    num_classes = 2
    image_shape = (1, 8, 8)

    def splits(self, *, seed: int) -> Splits:
        images = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        labels = (torch.arange(300) >= 150).long()
        parts = [ImageSet(images[i : i + 100], labels[i : i + 100]) for i in (0, 100, 200)]
        return Splits(private_train=parts[0], private_test=parts[1], auxiliary=parts[2])
