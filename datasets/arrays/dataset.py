"""Labelled images in one ``.npz`` file, as public sets can be kept, or one's own."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy

from bench.api import (
    Bytes,
    DataMissing,
    Dataset,
    Splits,
    UsageError,
    as_splits,
    check_digest,
    checked_prefix,
    find_data,
    ordered_rows,
    padded,
    parts_by_class,
    searched,
)
from bench.api.cards import too_small
from bench.api.rows import FEWEST_OF_A_PART

MOST_CLASSES = 256
Array = np.ndarray[Any, np.dtype[Any]]
TORN = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading such a file raises; RuntimeError where it is encrypted or packed in an unknown way."""


class Arrays(Dataset):
    """Images and labels from a file of NumPy arrays."""

    def __init__(
        self, *, path: str = "", digest: str = "", private: int = 0, test: int = 0, auxiliary: int = 0
    ) -> None:
        """Reads the labels, and of the images their shape only; nothing of a named digest's absent file.

        Raises:
            UsageError: there is no such file and no digest of it, or it does not hold what it should.
        """
        self.sizes = [private, test, auxiliary]
        if any(0 < size < FEWEST_OF_A_PART for size in self.sizes):
            raise _wrong(
                f"private, test, auxiliary are {self.sizes}: give each {FEWEST_OF_A_PART} or more, or 0"
            )
        self.digest, self.absent, self._reading = checked_prefix(digest, "arrays"), "", ""
        if self.digest and path and not find_data(path).exists():
            self.path = find_data(path)
            self.absent = (
                f"arrays: {path} is not here: put the file with the digest {digest} below $BENCH_DATA"
            )
            return
        self.path = _file(path)
        count, height, width, channels = _shape(self.path)
        self.labels, self.classes = _labels(self.path, count)
        self.num_classes = len(self.classes)
        self.image_shape = (channels, padded(height), padded(width))
        if why := too_small(self.image_shape):
            raise _wrong(f"{self.path}: {why}")

    def place(self) -> Path:
        """The file."""
        return self.path

    def missing(self) -> str:
        """Why the file that the digest names is not here, and what helps; empty where it is."""
        return self.absent

    def splits(self, *, seed: int) -> Splits:
        """Three parts of the distinct images of each class: by default half, a fifth and the rest.

        Raises:
            DataMissing: the file is not here.
            UsageError: the file is torn, or there are too few images, at all or of a class.
            BenchError: its images or labels are others than the digest says.
        """
        if self.absent:
            raise DataMissing(self.absent)
        pixels = cast("Bytes", _read(self.path, "images"))
        rows = ordered_rows((image.tobytes() for image in pixels), self.labels)
        if self.digest:
            fix = f"name the file that has them, or leave digest={self.digest} out"
            check_digest(rows.digest, self.digest, name="arrays", files=self.path, fix=fix)
        labels = [self.labels[row] for row in rows.kept]
        parts = parts_by_class(labels, self.classes, sizes=self.sizes, seed=seed, name="arrays")
        left_out = f"; {len(pixels) - len(labels)} equal ones left out" if len(pixels) > len(labels) else ""
        self._reading = f"{len(pixels)} images of {self.num_classes} classes read{left_out}"
        return as_splits(pixels[rows.kept], labels, parts)

    def reading(self) -> str:
        """Images, classes, and how many were left out."""
        return self._reading


def _wrong(what: str) -> UsageError:
    return UsageError(f"dataset arrays: {what}")


def _file(path: str) -> Path:
    """The file that the user names, or the only one in the folder that the user names."""
    if not path:
        raise _wrong("name your file: -D 'arrays[path=FILE.npz]'")
    found = find_data(path)
    held = sorted(found.glob("*.npz")) if found.is_dir() else [found]
    if len(held) != 1 or not held[0].is_file():
        what = f"holds {len(held)} files .npz, name one of them" if found.is_dir() else "is no file"
        raise _wrong(f"path: {path} {what} ({searched()})")
    return held[0]


def _read(path: Path, name: str) -> Array:
    """One array of the file; nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return cast("Array", held[name])
    except TORN as error:
        raise _wrong(f"{path}: {name} cannot be read: {error}") from None


def _shape(path: Path) -> tuple[int, int, int, int]:
    """N, H, W and C of the images, from the head of their array."""
    try:
        with zipfile.ZipFile(path) as held, held.open("images.npy") as file:
            version = npy.read_magic(file)
            head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, kind = head(file)
    except TORN as error:
        raise _wrong(f"{path}: images cannot be read: {error}") from None
    full = shape if len(shape) == 4 else (*shape, 1)
    if kind != np.uint8 or len(full) != 4 or full[3] not in (1, 3):
        raise _wrong(
            f"{path}: images are {shape} {kind}, expected uint8 [N, H, W] for grey or [N, H, W, 3] for colour"
        )
    return full


def _labels(path: Path, count: int) -> tuple[list[int], list[str]]:
    """Class numbers of all images, from 0 in ascending order of the labels that occur, and their names."""
    labels = _read(path, "labels")
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or not count:
        raise _wrong(f"{path}: labels are {labels.shape} {labels.dtype}, expected {count} whole numbers [N]")
    names = _names(path)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (names and high >= len(names)):
        known = f"0..{len(names) - 1}, as `classes` has {len(names)} names" if names else "0 or more"
        raise _wrong(f"{path}: labels are from {low} to {high}, expected {known}")
    found, numbers = np.unique(labels, return_inverse=True)
    if not 2 <= len(found) <= MOST_CLASSES:
        raise _wrong(f"{path}: {len(found)} different labels, expected 2 to {MOST_CLASSES}")
    called = [names[label] if names else str(label) for label in found.tolist()]
    return cast("list[int]", numbers.tolist()), called


def _names(path: Path) -> list[str]:
    """What the file calls its classes; empty where it names none."""
    with zipfile.ZipFile(path) as held:
        if "classes.npy" not in held.namelist():
            return []
    names = _read(path, "classes")
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise _wrong(f"{path}: classes are {names.shape} {names.dtype}, expected a list of texts")
    return [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names.tolist()]
