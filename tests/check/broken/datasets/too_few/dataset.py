"""Refuses its source, which holds too few images."""

import torch

from bench.api import Dataset, Splits, UsageError


class TooFew(Dataset):
    num_classes = 2
    image_shape = (1, 8, 8)

    def splits(self, *, seed: int) -> Splits:
        source = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        raise UsageError(f"too_few: the source holds {len(source)} images, 250 are the least")
