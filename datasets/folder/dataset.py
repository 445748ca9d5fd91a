"""The user's own images: one folder for each class."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from bench.api import Dataset, ImageSet, Splits, UsageError, find_data, searched

FEWEST = 250
SHARES = (0.5, 0.2)


class Folder(Dataset):
    """Labelled images on this machine, in the layout of torchvision's ``ImageFolder``."""

    def __init__(self, *, path: str = "", size: int = 32, channels: int = 3) -> None:
        """Looks at the folder's names only.

        Raises:
            UsageError: there is no such folder, or it has fewer than two classes.
        """
        self.root = _folder(path)
        classes = [item for item in self.root.iterdir() if item.is_dir() and not item.name.startswith(".")]
        if len(classes) < 2:
            raise UsageError(
                f"dataset folder: path: {path} holds {len(classes)} class folders, at least 2 are needed; "
                "the layout is PATH/<class>/<image>"
            )
        self.num_classes = len(classes)
        self.image_shape = (channels, size, size)

    def place(self) -> Path:
        """The folder."""
        return self.root

    def splits(self, *, seed: int) -> Splits:
        """Half of the images to private training, a fifth to private testing, the rest auxiliary.

        Raises:
            UsageError: a file is no image, or there are too few.
        """
        images, labels = self._load()
        train, test = (int(share * len(labels)) for share in SHARES)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        parts = order.split([train, test, len(labels) - train - test])
        private_train, private_test, auxiliary = (ImageSet(images[part], labels[part]) for part in parts)
        return Splits(private_train=private_train, private_test=private_test, auxiliary=auxiliary)

    def _load(self) -> tuple[Tensor, Tensor]:
        """All distinct images float32 ``[M, C, H, W]`` in the order of their names, and labels ``[M]``."""
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        channels, size, _ = self.image_shape
        prepare = v2.Compose(
            [
                v2.Grayscale(1) if channels == 1 else v2.RGB(),
                v2.Resize(size, antialias=True),
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        try:
            found = ImageFolder(str(self.root), transform=prepare)
        except FileNotFoundError as error:
            raise UsageError(f"dataset folder: path: {error}") from None
        distinct: dict[str, tuple[Tensor, int]] = {}
        for number, (file, _) in enumerate(found.samples):
            try:
                image, label = found[number]
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise UsageError(f"dataset folder: {file} cannot be read as an image: {error}") from None
            distinct.setdefault(hashlib.sha256(image.numpy().tobytes()).hexdigest(), (image, label))
        if len(distinct) < FEWEST:
            raise UsageError(
                f"dataset folder: {self.root} holds {len(distinct)} distinct images, {FEWEST} are the least"
            )
        images, labels = zip(*distinct.values(), strict=True)
        return torch.stack([image.as_subclass(Tensor) for image in images]), torch.tensor(labels)


def _folder(path: str) -> Path:
    if not path:
        raise UsageError("dataset folder: name your folder of images: -D 'folder[path=DIR]'")
    root = find_data(path)
    if not root.is_dir():
        raise UsageError(f"dataset folder: path: {path} is no folder ({searched()})")
    return root
