"""MedMNIST: small medical images, read from one official ``.npz`` file of one of its 2D data sets."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.api import BenchError, DataMissing, Dataset, ImageSet, Splits, UsageError, data_folder, find_data
from bench.api.cards import DatasetCard, read_card


class Kind(NamedTuple):
    """One data set of the collection: classes K and channels C."""

    classes: int
    channels: int


SUBSETS = {
    "pneumoniamnist": Kind(2, 1),
    "breastmnist": Kind(2, 1),
    "octmnist": Kind(4, 1),
    "tissuemnist": Kind(8, 1),
    "organamnist": Kind(11, 1),
    "organcmnist": Kind(11, 1),
    "organsmnist": Kind(11, 1),
    "bloodmnist": Kind(8, 3),
    "dermamnist": Kind(7, 3),
    "pathmnist": Kind(9, 3),
    "retinamnist": Kind(5, 3),
}
"""All 2D sets with one label for each image; ``chestmnist`` has fourteen at once."""
PINNED = ("pneumoniamnist", 28)
"""Whose digest the card has."""
PARTS = ("train", "val", "test")
"""The official splits, which are read in this order and then treated as one."""
NETWORKS = 8
"""Sides are padded to a multiple of it, as the networks need it."""
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class MedMnist(Dataset):
    """One set of MedMNIST v2 (Yang et al. 2023); sides of 28 pixels are padded to 32."""

    def __init__(
        self,
        *,
        subset: str = "pneumoniamnist",
        size: int = 28,
        root: str = "",
        digest: str = "",
        private: int = 2500,
        test: int = 1000,
        auxiliary: int = 1500,
    ) -> None:
        """Looks at no file.

        Raises:
            UsageError: the digest is none.
        """
        self.subset, self.size, self.root = subset, size, root
        self.sizes = [private, test, auxiliary]
        if digest and (len(digest) < 12 or set(digest) - set("0123456789abcdef")):
            raise UsageError("dataset medmnist: digest: give the first 12 or more hexadecimal digits of it")
        self.digest = digest
        kind = SUBSETS[subset]
        side = -(-size // NETWORKS) * NETWORKS
        self.num_classes = kind.classes
        self.image_shape = (kind.channels, side, side)

    def splits(self, *, seed: int) -> Splits:
        """Three parts of all distinct images, shuffled together; no two images are equal.

        Raises:
            DataMissing: the file is not there.
            UsageError: the splits need more images than there are.
            BenchError: the file is torn, or holds other images than the digest says.
        """
        pixels, labels = self._load()
        if sum(self.sizes) > len(labels):
            raise UsageError(
                f"dataset medmnist: private + test + auxiliary are {sum(self.sizes)} images, {self.subset} "
                f"has {len(labels)} distinct ones"
            )
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        parts = order[: sum(self.sizes)].split(self.sizes)
        private, test, auxiliary = (ImageSet(self._images(pixels[part]), labels[part]) for part in parts)
        return Splits(private_train=private, private_test=test, auxiliary=auxiliary)

    def missing(self) -> str:
        """Why the file is not here, and what helps; empty where it is."""
        path = self._path()
        return "" if path.is_file() else f"medmnist: there is no {path}; {self._fix()}"

    def _images(self, pixels: Tensor) -> Tensor:
        """Float32 ``[M, C, H, W]`` in [0, 1] of bytes ``[M, S, S]`` or ``[M, S, S, C]``."""
        channels, side, _ = self.image_shape
        planes = pixels.reshape(len(pixels), self.size, self.size, channels).permute(0, 3, 1, 2).float() / 255
        before = (side - self.size) // 2
        after = side - self.size - before
        return pad(planes, (before, after, before, after)).contiguous()

    @property
    def _name(self) -> str:
        """The official name: only files of 28 pixels do not tell their size."""
        return f"{self.subset}.npz" if self.size == 28 else f"{self.subset}_{self.size}.npz"

    def _path(self) -> Path:
        """The user's file or folder; without one, ``$BENCH_DATA/medmnist``."""
        if not self.root:
            known = data_folder() or Path("$BENCH_DATA")
            return known / "medmnist" / self._name
        named = find_data(self.root)
        return named / self._name if named.is_dir() else named

    def _fix(self) -> str:
        return (
            f"download the official {self._name} (https://medmnist.com) into "
            "$BENCH_DATA/medmnist, or name its folder: medmnist[root=DIR]"
        )

    def _load(self) -> tuple[Tensor, Tensor]:
        """Distinct images as bytes ``[M, S, S]`` or ``[M, S, S, C]`` and labels ``[M]``, sorted by digest.

        An image that occurs with two labels is dropped, since one of them is wrong.
        """
        if why := self.missing():
            raise DataMissing(why)
        pixels, labels = self._read(self._path())
        names = [hashlib.sha256(image.tobytes()).digest() for image in pixels]
        order = sorted(range(len(names)), key=lambda row: (names[row], int(labels[row])))
        self._check(b"".join(names[row] + bytes([int(labels[row])]) for row in order))
        known: dict[bytes, set[int]] = {}
        for row in order:
            known.setdefault(names[row], set()).add(int(labels[row]))
        kept = [
            row
            for before, row in zip([None, *order], order, strict=False)
            if len(known[names[row]]) == 1 and (before is None or names[before] != names[row])
        ]
        return torch.from_numpy(pixels[kept]), torch.from_numpy(labels[kept]).long()

    def _check(self, rows: bytes) -> None:
        """Compares the digest of all rows with the one that is expected."""
        found, wanted = hashlib.sha256(rows).hexdigest(), self.digest
        if (self.subset, self.size) == PINNED and not wanted:
            wanted = cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset")).sha256
        if not wanted:
            raise BenchError(
                f"medmnist: no digest of {self._name} is known here; your file has {found}: check that it "
                f"is the official one, then name it: digest={found[:16]}"
            )
        if not found.startswith(wanted):
            raise BenchError(
                f"medmnist: the digest of {self._path()} is {found}, expected {wanted}: these are other "
                f"images; {self._fix()}"
            )

    def _read(self, path: Path) -> tuple[Bytes, Bytes]:
        """All images and labels ``[M]`` of the official splits, one after another."""
        wanted = (self.size, self.size) + ((3,) if self.image_shape[0] == 3 else ())
        sides = ", ".join(map(str, wanted))
        pixels, labels = [], []
        try:
            with np.load(path, allow_pickle=False) as held:
                for part in PARTS:
                    pixels.append(held[f"{part}_images"])
                    labels.append(held[f"{part}_labels"])
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise BenchError(f"medmnist: {path} cannot be read: {error}; {self._fix()}") from None
        for part, images, classes in zip(PARTS, pixels, labels, strict=True):
            right = images.dtype == classes.dtype == np.uint8 and images.shape[1:] == wanted
            if not right or classes.shape != (len(images), 1) or (classes >= self.num_classes).any():
                raise BenchError(
                    f"medmnist: {path}: {part}: images {images.shape} {images.dtype} and labels "
                    f"{classes.shape} {classes.dtype}, expected (M, {sides}) and (M, 1) uint8, labels below "
                    f"{self.num_classes}; {self._fix()}"
                )
        return np.concatenate(pixels), np.concatenate(labels)[:, 0]
