"""Blood cells: crops around the boxes of the BCCD photographs, split by photograph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast
from xml.etree import ElementTree

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

CLASSES = ["Platelets", "RBC", "WBC"]
RED = CLASSES.index("RBC")
SHARES = (0.5, 0.2)
"""Of the photographs, for private training and private testing; the rest is auxiliary."""
MARGIN = 0.1
"""Around a box on each side, as a share of its longer side."""
SHORTEST = 12
"""Hexadecimal digits by which a photograph is known."""
SMALLEST = 8
"""Pixels; boxes whose longer side is shorter inside the photograph show no cell."""
REPEATED = {
    20: "9a451f4c7350", 38: "9b9556abde05", 41: "471439e501e0", 45: "6ae003994ea1", 108: "736d4735e8be",
    161: "9689e021b254", 166: "9017631aa774", 193: "f6c83914960f", 205: "7fecd893d0a0", 224: "1b41e3681d6d",
    240: "491005b8cb84", 247: "1b7d8b772c5d", 248: "f9128fe266bc", 249: "b3fec86778af", 250: "1a7ba606a1c6",
    252: "776332cc020b", 253: "5e6c48420ec3", 254: "a70e2061dfb1", 255: "e3a3e1d46b74", 256: "014a19c9450a",
    257: "d090f948b72d", 258: "7fbe4c500bf7", 259: "e86441308685", 260: "4ccbef0a6350", 261: "b28f985b3659",
    262: "ac16701714a8", 263: "ab77c949f1a9", 264: "2baf97b30b94", 276: "7d8235a47893", 277: "bf7631d50c9d",
    278: "f13a6329aacf", 279: "04825986b437", 391: "9d15e7bbb556", 393: "e27d0090906f", 395: "b85429946360",
    397: "33099ae341aa", 400: "e49f07c06a31", 408: "2720302caaeb",
}  # fmt: skip
"""Photographs that show cells of another one, which is kept: number in the name, beginning of the sha256."""
FIX = (
    "`bench data get bccd` says where the official files are; put their folders Annotations and JPEGImages "
    "into $BENCH_DATA/BCCD, or name the folder that holds both: bccd[root=DIR]"
)


class Cell(NamedTuple):
    """One annotated cell.

    Attributes:
        path: of its photograph.
        photograph: sha256 of that file.
        square: what is cut: x and y of the upper left corner, side.
        label: its class.
    """

    path: Path
    photograph: bytes
    square: tuple[int, int, int]
    label: int

    @property
    def identity(self) -> bytes:
        """The pixels that are cut, by where they are from: no decoder of JPEGs changes it."""
        return self.photograph + repr(self.square).encode()

    @property
    def repeated(self) -> bool:
        """Another photograph, which is used, shows some of the same cells."""
        return self.photograph.hex()[:SHORTEST] in REPEATED.values()


class Bccd(Dataset):
    """Red and white blood cells and platelets (Shenggan's BCCD data set)."""

    num_classes = len(CLASSES)

    def __init__(self, *, size: int = 32, red_cells: int = 1, root: str = "") -> None:
        """Looks at no file."""
        self.red_cells, self.root = red_cells, root
        self.image_shape = (3, size, size)

    def splits(self, *, seed: int) -> Splits:
        """Half of the photographs to private training, a fifth to private testing, the rest auxiliary.

        Raises:
            DataMissing: the folders are not there.
            BenchError: a file cannot be read, or others are here than the card's sha256 says.
        """
        if why := self.missing():
            raise DataMissing(why)
        cells = [
            cell for path in sorted((self.place() / "Annotations").glob("*.xml")) for cell in _cells(path)
        ]
        rows = ordered_rows((cell.identity for cell in cells), [cell.label for cell in cells])
        card = cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset"))
        check_digest(rows.digest, card.sha256, name="bccd", files=self.place(), fix=FIX)
        kept = list(self._balanced([cells[row] for row in rows.kept if not cells[row].repeated]))
        return as_splits(self._crops(kept), [cell.label for cell in kept], _by_photograph(kept, seed))

    def missing(self) -> str:
        """Why the folders are not here, and what helps; empty where they are."""
        absent = [
            path for name in ("Annotations", "JPEGImages") if not (path := self.place() / name).is_dir()
        ]
        return f"bccd: there is no {absent[0]}; {FIX}" if absent else ""

    def place(self) -> Path:
        """The user's folder, or that below ``$BENCH_DATA``."""
        return find_data(self.root) if self.root else (data_folder() or Path("$BENCH_DATA")) / "BCCD"

    def _balanced(self, cells: list[Cell]) -> Iterator[Cell]:
        """All cells, but of each photograph only the first red ones."""
        red: dict[bytes, int] = {}
        for cell in cells:
            if cell.label == RED:
                red[cell.photograph] = red.get(cell.photograph, 0) + 1
            if cell.label != RED or red[cell.photograph] <= self.red_cells:
                yield cell

    def _crops(self, cells: list[Cell]) -> Bytes:
        """The squares as bytes ``[M, S, S, 3]``, antialiased; each photograph is decoded once."""
        shown: dict[Path, list[int]] = {}
        for row, cell in enumerate(cells):
            shown.setdefault(cell.path, []).append(row)
        made = np.empty((len(cells), *self.image_shape[1:], 3), np.uint8)
        for path, rows in shown.items():
            photograph = _decoded(path)
            for row in rows:
                x, y, side = cells[row].square
                square = photograph.crop((x, y, x + side, y + side))
                made[row] = np.asarray(square.resize(self.image_shape[1:], Image.Resampling.BICUBIC))
        return made


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchError(f"bccd: {path} cannot be read: {error}; {FIX}") from None


def _cells(annotation: Path) -> Iterator[Cell]:
    """The cells of one photograph, which has the annotation's name, whatever is written in it."""
    path = annotation.parents[1] / "JPEGImages" / f"{annotation.stem}.jpg"
    try:
        text = annotation.read_text(encoding="utf-8")
        if "<!DOCTYPE" in text:  # it may define entities that grow without bound
            raise ValueError("it has a document type, which annotations have not")
        root = ElementTree.fromstring(text)
        photograph = hashlib.sha256(path.read_bytes()).digest()
        with Image.open(path) as file:
            width, height = file.size
        for item in root.iter("object"):
            label = CLASSES.index(item.findtext("name", "").strip())
            corners = [float(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
            if (square := _square(corners, width, height)) is not None:
                yield Cell(path, photograph, square, label)
    except (OSError, ValueError, ElementTree.ParseError, Image.DecompressionBombError) as error:
        raise BenchError(f"bccd: {annotation} and {path.name} cannot be read: {error}; {FIX}") from None


def _square(corners: list[float], width: int, height: int) -> tuple[int, int, int] | None:
    """The square around a box (x, y, side), moved into the photograph; None where the box is empty."""
    left, right = (min(max(x, 0), width) for x in corners[::2])
    top, bottom = (min(max(y, 0), height) for y in corners[1::2])
    longer = max(right - left, bottom - top)
    if min(right - left, bottom - top) <= 0 or longer < SMALLEST:
        return None
    side = min(round(longer * (1 + 2 * MARGIN)), width, height)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return min(max(x, 0), width - side), min(max(y, 0), height - side), side


def _by_photograph(cells: list[Cell], seed: int) -> list[torch.Tensor]:
    """Row numbers of the three parts: a seed shuffles the photographs, which are cut, then the cells."""
    generator = torch.Generator().manual_seed(seed)
    photographs = sorted({cell.photograph for cell in cells})
    private, test = (int(share * len(photographs)) for share in SHARES)
    place = torch.randperm(len(photographs), generator=generator).argsort().tolist()
    part = {
        name: (at >= private) + (at >= private + test) for name, at in zip(photographs, place, strict=True)
    }
    owner = torch.tensor([part[cell.photograph] for cell in cells])
    order = torch.randperm(len(cells), generator=generator)
    return [order[owner[order] == number] for number in range(3)]
