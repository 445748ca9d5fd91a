"""MedMNIST: small medical images, read from one official ``.npz`` file of one of its 2D data sets."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from bench.api import (
    BenchError,
    Bytes,
    DataMissing,
    Dataset,
    Splits,
    as_splits,
    check_digest,
    checked_prefix,
    data_folder,
    find_data,
    ordered_rows,
    padded,
    shuffled_parts,
)
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
TORN = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a torn file raises; RuntimeError where it is encrypted, or packed in an unknown way."""


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
        self.digest = checked_prefix(digest, "medmnist")
        kind = SUBSETS[subset]
        self.num_classes = kind.classes
        self.image_shape = (kind.channels, padded(size), padded(size))

    def splits(self, *, seed: int) -> Splits:
        """Three parts of all distinct images, shuffled together; no two images are equal.

        Raises:
            DataMissing: the file is not there.
            UsageError: the splits need more images than there are.
            BenchError: the file is torn, or holds other images than the digest says.
        """
        pixels, labels = self._load()
        return as_splits(
            pixels,
            labels,
            shuffled_parts(len(labels), self.sizes, seed=seed, name=f"medmnist, {self.subset}"),
        )

    def missing(self) -> str:
        """Why the file is not here, and what helps; empty where it is."""
        path = self.place()
        return "" if path.is_file() else f"medmnist: there is no {path}; {self._fix()}"

    @property
    def _name(self) -> str:
        """The official name: only files of 28 pixels do not tell their size."""
        return f"{self.subset}.npz" if self.size == 28 else f"{self.subset}_{self.size}.npz"

    def place(self) -> Path:
        """The user's file or folder; without one, ``$BENCH_DATA/medmnist``."""
        if not self.root:
            known = data_folder() or Path("$BENCH_DATA")
            return known / "medmnist" / self._name
        named = find_data(self.root)
        return named / self._name if named.is_dir() else named

    def _fix(self) -> str:
        plain, asked = (self.subset, self.size) == PINNED, {"subset": self.subset, "size": self.size}
        if all(item.when != asked for item in _card().downloads):
            return (
                f"put the official {self._name} (https://medmnist.com) into $BENCH_DATA/medmnist or name "
                f"yours: medmnist[subset={self.subset},size={self.size},root=DIR]"
            )
        name = "medmnist" if plain else f"'medmnist[subset={self.subset},size={self.size}]'"
        return f"fetch the official file (bench data get {name}) or name yours: medmnist[root=DIR]"

    def _load(self) -> tuple[Bytes, list[int]]:
        """Distinct images as bytes ``[M, S, S]`` or ``[M, S, S, C]`` and labels, in one order."""
        if why := self.missing():
            raise DataMissing(why)
        pixels, labels = self._read(self.place())
        rows = ordered_rows((image.tobytes() for image in pixels), labels)
        wanted = self.digest
        if (self.subset, self.size) == PINNED and not wanted:
            wanted = _card().sha256
        check_digest(rows.digest, wanted, name="medmnist", files=self.place(), fix=self._fix())
        return pixels[rows.kept], [labels[row] for row in rows.kept]

    def _read(self, path: Path) -> tuple[Bytes, list[int]]:
        """All images and labels of the official splits, one after another."""
        wanted = (self.size, self.size) + ((3,) if self.image_shape[0] == 3 else ())
        sides = ", ".join(map(str, wanted))
        pixels, labels = [], []
        try:
            with np.load(path, allow_pickle=False) as held:
                for part in PARTS:
                    pixels.append(held[f"{part}_images"])
                    labels.append(held[f"{part}_labels"])
        except TORN as error:
            raise BenchError(f"medmnist: {path} cannot be read: {error}; {self._fix()}") from None
        for part, images, classes in zip(PARTS, pixels, labels, strict=True):
            right = images.dtype == classes.dtype == np.uint8 and images.shape[1:] == wanted
            if not right or classes.shape != (len(images), 1) or (classes >= self.num_classes).any():
                raise BenchError(
                    f"medmnist: {path}: {part}: images {images.shape} {images.dtype} and labels "
                    f"{classes.shape} {classes.dtype}, expected (M, {sides}) and (M, 1) uint8, labels below "
                    f"{self.num_classes}; {self._fix()}"
                )
        return np.concatenate(pixels), np.concatenate(labels)[:, 0].tolist()


def _card() -> DatasetCard:
    return cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset"))
