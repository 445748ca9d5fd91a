"""The user's own images: one folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from bench.api import Dataset, ImageSet, Splits, UsageError, check_counts, find_data, parts_by_class, searched
from bench.datasets.folder.listing import Listing, class_folders, list_images
from bench.datasets.folder.reader import UNREADABLE, read_picture, scale_of

NAMED = 6
"""Classes up to which the line on what was read has each."""


class _Row(NamedTuple):
    """A distinct image: float32 ``[C, S, S]``, in [0, 1] unless it is ``unscaled``, and its class."""

    pixels: Tensor
    unscaled: bool
    label: int


class Folder(Dataset):
    """Labelled images on this machine, in the layout of torchvision's ``ImageFolder``."""

    def __init__(self, *, path: str = "", size: int = 32, channels: int = 3) -> None:
        """Looks at the folder's names only.

        Raises:
            UsageError: there is no such folder, or it has fewer than two classes.
        """
        self.root = _folder(path)
        try:
            classes = class_folders(self.root)
        except OSError as error:
            raise _unreadable(error) from None
        if len(classes) < 2:
            loose = sum(item.is_file() for item in self.root.iterdir())
            raise UsageError(
                f"dataset folder: path: {path} holds {len(classes)} class folders and {loose} files beside "
                "them, at least 2 class folders are needed; the layout is PATH/<class>/<image>"
            )
        self.num_classes = len(classes)
        self.image_shape = (channels, size, size)
        self._reading = ""

    def place(self) -> Path:
        """The folder."""
        return self.root

    def reading(self) -> str:
        """Files, classes, and what was skipped, and why."""
        return self._reading

    def splits(self, *, seed: int) -> Splits:
        """Half of each class to private training, a fifth to private testing, the rest auxiliary.

        Raises:
            UsageError: a file is no image, or there are too few.
        """
        try:
            listing = list_images(self.root)
        except OSError as error:
            raise _unreadable(error) from None
        check_counts({name: len(files) for name, files in listing.files.items()}, name="folder")
        rows, self._reading = self._load(listing)
        labels = [row.label for row in rows]
        parts = parts_by_class(labels, [*listing.files], seed=seed, name="folder")
        images = torch.stack([row.pixels for row in rows])
        private, test, auxiliary = (ImageSet(images[part], torch.tensor(labels)[part]) for part in parts)
        return Splits(private_train=private, private_test=test, auxiliary=auxiliary)

    def _load(self, listing: Listing) -> tuple[list[_Row], str]:
        """All distinct images in the order of their names, and what was read in words."""
        distinct: dict[bytes, _Row] = {}
        highest, clashes, prepare = -1, 0, self._prepared()
        for label, files in enumerate(listing.files.values()):
            for file in files:
                try:
                    picture = read_picture(file, channels=self.image_shape[0])
                except UNREADABLE as error:
                    raise UsageError(
                        f"dataset folder: {file} cannot be read as an image: {error}; correct it, or take it "
                        "away"
                    ) from None
                row = _Row(prepare(picture.image), picture.highest is not None, label)
                highest = max(highest, -1 if picture.highest is None else picture.highest)
                first = distinct.setdefault(hashlib.sha256(row.pixels.numpy().tobytes()).digest(), row)
                clashes += first.label != label
        white = scale_of(highest) if highest >= 0 else 1
        rows = [
            row._replace(pixels=(row.pixels / white).clamp(0, 1)) if row.unscaled else row
            for row in distinct.values()
        ]
        return rows, _words(listing, len(rows), clashes, white)

    def _prepared(self) -> Callable[[Image.Image], Tensor]:
        """From a picture to float32 ``[C, S, S]``."""
        channels, size, _ = self.image_shape
        cut = v2.Compose(
            [
                v2.Resize(size, antialias=True),
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        return lambda image: cut(image).as_subclass(Tensor).expand(channels, size, size).contiguous()


def _words(listing: Listing, distinct: int, clashes: int, white: int) -> str:
    sizes = {name: len(files) for name, files in listing.files.items()}
    each = ", ".join(f"{name} {count}" for name, count in [*sizes.items()][:NAMED])
    more = f", ... of {min(sizes.values())} to {max(sizes.values())} each" if len(sizes) > NAMED else ""
    total = sum(sizes.values())
    parts = [f"{total} image files of {len(sizes)} classes read ({each}{more})"]
    if white > 1:
        parts.append(f"white in files of 16 bits is {white}")
    if distinct < total:
        twice = f", {clashes} of them in another class, too" if clashes else ""
        parts.append(f"{total - distinct} equal to an earlier one left out{twice}")
    skipped = ", ".join(f"{count} {why}" for why, count in sorted(listing.skipped.items()))
    return "; ".join([*parts, f"skipped: {skipped or 'nothing'}"])


def _unreadable(error: OSError) -> UsageError:
    return UsageError(f"dataset folder: path: {error.filename} cannot be read: {error.strerror}")


def _folder(path: str) -> Path:
    if not path:
        raise UsageError("dataset folder: name your folder of images: -D 'folder[path=DIR]'")
    root = find_data(path)
    if not root.is_dir():
        raise UsageError(f"dataset folder: path: {path} is no folder ({searched()})")
    return root
