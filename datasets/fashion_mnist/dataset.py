"""Fashion-MNIST from files on this machine: its own IDX files, Debian's package or torchvision's folder."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.api import BenchError, DataMissing, Dataset, ImageSet, Splits, UsageError, data_folder, find_data
from bench.api.cards import DatasetCard, read_card

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TORCHVISION = Path("FashionMNIST", "raw")
SIDE = 28
COUNTS = {"train": 60_000, "t10k": 10_000}
"""Images of the two halves, which are read in this order and then treated as one."""
MAGIC = {"images-idx3": 0x803, "labels-idx1": 0x801}
FILES = [f"{half}-{what}-ubyte" for half in COUNTS for what in MAGIC]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
FIX = (
    "fetch them (bench data get fashion_mnist), install Debian's files (apt install dataset-fashion-mnist), "
    "put the four files into $BENCH_DATA/fashion_mnist or name their folder (fashion_mnist[root=DIR]), or "
    "let torchvision fetch them once (fashion_mnist[root=DIR,download=true])"
)
REPLACE = f"remove it, then {FIX}"


class FashionMnist(Dataset):
    """Clothes in ten classes (Xiao, Rasul, Vollgraf 2017), padded to 32x32."""

    num_classes = 10
    image_shape = (1, 32, 32)

    def __init__(
        self,
        *,
        root: str = "",
        private: int = 5000,
        test: int = 2000,
        auxiliary: int = 5000,
        download: bool = False,
    ) -> None:
        """Looks at no file.

        Raises:
            UsageError: the splits need more images than there are, or a download has no folder to go to.
        """
        self.root, self.sizes, self.download = root, [private, test, auxiliary], download
        if sum(self.sizes) > (there := sum(COUNTS.values())):
            raise UsageError(
                f"dataset fashion_mnist: private + test + auxiliary are {sum(self.sizes)} images, there are "
                f"{there}"
            )
        if download and not root:
            raise UsageError("dataset fashion_mnist: download: name the folder to fetch into: root=DIR")

    def splits(self, *, seed: int) -> Splits:
        """Three parts of all images, shuffled together; no two of them are equal.

        Raises:
            DataMissing: one of the four files is not there.
            BenchError: a file is torn or another one than the card's sha256 says.
        """
        pixels, classes = _load(_folder(self.root, self.download))
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
        parts = order[: sum(self.sizes)].split(self.sizes)
        private, test, auxiliary = (ImageSet(_images(pixels[part]), classes[part].long()) for part in parts)
        return Splits(private_train=private, private_test=test, auxiliary=auxiliary)

    def place(self) -> Path:
        """The folder of the four files."""
        return _folder(self.root, download=False)

    def missing(self) -> str:
        """Which files are not here, and what helps; empty where all are, or where they are fetched."""
        if self.download or not (absent := _absent(self.place())):
            return ""
        return (
            f"fashion_mnist: there is no {', '.join(absent)}, packed (.gz) or not, in {self.place()}; {FIX}"
        )


def _images(pixels: Tensor) -> Tensor:
    """Float32 ``[M, 1, 32, 32]`` in [0, 1] of bytes ``[M, 784]``."""
    return pad(pixels.reshape(-1, 1, SIDE, SIDE).float() / 255, (2, 2, 2, 2))


def _folder(root: str, download: bool) -> Path:
    """The user's folder or torchvision's below it; without one that of $BENCH_DATA, or Debian's.

    It is the first that holds the most of the four files.
    """
    if root:
        base = find_data(root)
        if download:
            _fetch(base)
        places = [base, base / TORCHVISION]
    else:
        known = data_folder()
        places = [] if known is None else [known / "fashion_mnist", known / TORCHVISION]
        places.append(DEBIAN)
    best = min(places, key=lambda path: len(_absent(path)))
    return best if len(_absent(best)) < len(FILES) else places[0 if root else -1]


def _absent(folder: Path) -> list[str]:
    """Names of the files that a folder has neither packed nor unpacked."""
    return [name for name in FILES if not any((folder / f"{name}{end}").is_file() for end in ("", ".gz"))]


def _fetch(base: Path) -> None:
    """Has torchvision fetch into its own layout what is not there; it checks MD5 sums itself."""
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(base), download=True)
    except (RuntimeError, OSError) as error:
        raise BenchError(f"fashion_mnist: torchvision cannot download into {base}: {error}; {FIX}") from None


def _load(folder: Path) -> tuple[Tensor, Tensor]:
    """All images as bytes ``[70000, 784]`` and their classes ``[70000]``, checked against the card."""
    pixels = np.concatenate([_read(folder, half, "images-idx3", SIDE, SIDE) for half in COUNTS])
    classes = np.concatenate([_read(folder, half, "labels-idx1") for half in COUNTS])
    digest = hashlib.sha256(pixels.tobytes() + classes.tobytes()).hexdigest()
    card = cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset"))
    if digest != card.sha256:
        raise BenchError(
            f"fashion_mnist: sha256 of the pixels and labels in {folder} is {digest}, the card says "
            f"{card.sha256}: these are other images; remove them, then {FIX}"
        )
    return torch.from_numpy(pixels).flatten(1), torch.from_numpy(classes)


def _read(folder: Path, half: str, what: str, *sides: int) -> Bytes:
    """One IDX file, packed or not: a big-endian header of magic number and sizes, then bytes."""
    plain = folder / f"{half}-{what}-ubyte"
    packed = plain.with_name(f"{plain.name}.gz")
    path = plain if plain.is_file() else packed
    try:
        data = path.read_bytes() if path == plain else gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataMissing(
            f"fashion_mnist: there is neither {packed} nor {plain.name} beside it; {FIX}"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"fashion_mnist: {path} cannot be read: {error}; {REPLACE}") from None
    shape = (COUNTS[half], *sides)
    header = np.array([MAGIC[what], *shape], dtype=">i4").tobytes()
    if not data.startswith(header):
        raise BenchError(
            f"fashion_mnist: {path} begins with {data[: len(header)].hex(' ', 4) or 'nothing'}, expected "
            f"{header.hex(' ', 4)} (magic number, then the sizes {'x'.join(map(str, shape))}); {REPLACE}"
        )
    wanted = len(header) + math.prod(shape)
    if len(data) != wanted:
        raise BenchError(f"fashion_mnist: {path} holds {len(data)} bytes, expected {wanted}; {REPLACE}")
    return np.frombuffer(data, dtype=np.uint8, offset=len(header)).reshape(shape)
