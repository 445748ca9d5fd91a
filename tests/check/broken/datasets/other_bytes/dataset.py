"""Finds other bytes than its card pins."""

import hashlib

import torch

from bench.api import BenchError, Dataset, Splits

PINNED = "0" * 64


class OtherBytes(Dataset):
    num_classes = 2
    image_shape = (1, 8, 8)

    def splits(self, *, seed: int) -> Splits:
        found = hashlib.sha256(torch.zeros(300, 1, 8, 8).numpy().tobytes()).hexdigest()
        raise BenchError(f"other_bytes: sha256 is {found}, the card says {PINNED}")
