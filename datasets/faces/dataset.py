"""Faces of forty people, ten pictures each: the ORL data set of AT&T Laboratories Cambridge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from bench.api import (
    BenchError,
    Bytes,
    DataMissing,
    Dataset,
    Splits,
    as_splits,
    check_digest,
    data_folder,
    find_data,
    ordered_rows,
)
from bench.api.cards import DatasetCard, read_card

PEOPLE, PICTURES = 40, 10
WIDTH, HEIGHT = 92, 112
SHARES = [6, 2, 2]
"""Pictures of each person in the three parts."""
FIX = (
    "`bench data get faces` says where the official files are; put s1 ... s40 into $BENCH_DATA/orl_faces, or "
    "name their folder: faces[root=DIR]"
)


class Faces(Dataset):
    """The ORL database of faces (Samaria, Harter 1994); classes are people."""

    num_classes = PEOPLE

    def __init__(self, *, size: int = 64, root: str = "") -> None:
        """Looks at no file."""
        self.root = root
        self.image_shape = (1, size, size)

    def splits(self, *, seed: int) -> Splits:
        """Of each person six pictures to private training, two to private testing, two auxiliary.

        Raises:
            DataMissing: the folder is not there.
            BenchError: a picture is missing, is none, or another one than the card's sha256 says.
        """
        if why := self.missing():
            raise DataMissing(why)
        pictures = [self._read(person, number) for person, number in _names()]
        people = [person for person, _ in _names()]
        rows = ordered_rows((picture.tobytes() for picture in pictures), people)
        card = cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset"))
        check_digest(rows.digest, card.sha256, name="faces", files=self.place(), fix=FIX)
        pixels = np.stack([self._face(pictures[row]) for row in rows.kept])
        labels = [people[row] for row in rows.kept]
        return as_splits(pixels, labels, _stratified(labels, seed))

    def missing(self) -> str:
        """Why the folder is not here, and what helps; empty where it is."""
        first = self.place() / "s1"
        return "" if first.is_dir() else f"faces: there is no {first}; {FIX}"

    def place(self) -> Path:
        """The user's folder, or that below ``$BENCH_DATA``."""
        return find_data(self.root) if self.root else (data_folder() or Path("$BENCH_DATA")) / "orl_faces"

    def _read(self, person: int, number: int) -> Image.Image:
        path = self.place() / f"s{person + 1}" / f"{number + 1}.pgm"
        try:
            with Image.open(path) as file:
                picture = file.copy()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise BenchError(f"faces: {path} cannot be read: {error}; {FIX}") from None
        if (picture.mode, picture.size) != ("L", (WIDTH, HEIGHT)):
            raise BenchError(
                f"faces: {path} is {picture.mode} of {picture.width}x{picture.height}, expected grey (L) of "
                f"{WIDTH}x{HEIGHT}; {FIX}"
            )
        return picture

    def _face(self, picture: Image.Image) -> Bytes:
        """The central square, resized with antialiasing, as bytes ``[S, S]``."""
        top = (HEIGHT - WIDTH) // 2
        square = (0, top, WIDTH, top + WIDTH)
        return np.asarray(picture.crop(square).resize(self.image_shape[1:], Image.Resampling.BICUBIC))


def _names() -> Iterator[tuple[int, int]]:
    return ((person, number) for person in range(PEOPLE) for number in range(PICTURES))


def _stratified(labels: list[int], seed: int) -> list[torch.Tensor]:
    """Row numbers of the three parts: a seed shuffles each person's pictures, then each part."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    shuffled = torch.tensor(labels)[order]
    own = [order[shuffled == person].split(SHARES) for person in range(PEOPLE)]
    parts = [torch.cat(pieces) for pieces in zip(*own, strict=True)]
    return [part[torch.randperm(len(part), generator=generator)] for part in parts]
