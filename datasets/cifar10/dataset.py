"""CIFAR-10 from its official binary version: the archive, the files in it, or a copy made from JPEGs."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from bench.api import (
    BenchError,
    DataMissing,
    Dataset,
    Splits,
    as_splits,
    check_digest,
    checked_prefix,
    data_folder,
    find_data,
    ordered_rows,
    shuffled_parts,
)
from bench.api.cards import DatasetCard, read_card

ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Of the official archive, as its page gives it."""
FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
ROW = 1 + 3 * 32 * 32
"""Bytes of one image: its label, then red, green and blue planes."""
COUNTS = {"official": [10_000] * 6, "jpeg": [2_000] * 5 + [5_000]}
"""Images in each file, by which the two copies are told apart before anything is read."""


class Cifar10(Dataset):
    """Small colour photographs of ten kinds of things (Krizhevsky 2009), 32x32."""

    num_classes = 10
    image_shape = (3, 32, 32)

    def __init__(
        self,
        *,
        copy: str = "official",
        root: str = "",
        digest: str = "",
        private: int = 5000,
        test: int = 2000,
        auxiliary: int = 5000,
    ) -> None:
        """Looks at no file.

        Raises:
            UsageError: the digest is none.
        """
        self.copy, self.root, self.sizes = copy, root, [private, test, auxiliary]
        self.digest = checked_prefix(digest, "cifar10")

    def splits(self, *, seed: int) -> Splits:
        """Three parts of all distinct images, shuffled together; no two images are equal.

        Raises:
            DataMissing: neither archive nor files are there.
            UsageError: the splits need more images than there are.
            BenchError: a file is torn, or holds other images than the digest says.
        """
        if (place := self._place()) is None:
            raise DataMissing(self.missing())
        rows = np.frombuffer(b"".join(self._read(place)), np.uint8).reshape(-1, ROW)
        pixels, labels = rows[:, 1:], rows[:, 0].tolist()
        if max(labels) >= self.num_classes:
            raise BenchError(
                f"cifar10: {place}: label {max(labels)}, expected 0..{self.num_classes - 1}; {self._fix()}"
            )
        found = ordered_rows((image.tobytes() for image in pixels), labels)
        if place.is_dir() or self.digest:  # the archive is known by its MD5
            check_digest(found.digest, self._wanted(), name="cifar10", files=place, fix=self._fix())
        images = pixels[found.kept].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        parts = shuffled_parts(len(found.kept), self.sizes, seed=seed, name="cifar10")
        return as_splits(images, [labels[row] for row in found.kept], parts)

    def place(self) -> Path | None:
        """The archive or the folder of the six files; where the first belongs if there is neither."""
        return self._place() or next(self._places())

    def missing(self) -> str:
        """Why the files of this copy are not here, and what helps; empty where they are. Reads none."""
        if self._place() is not None:
            return ""
        places = ", ".join(str(path) for path in self._places() if path.name != ARCHIVE)
        sizes = " or ".join(str(count * ROW) for count in dict.fromkeys(COUNTS[self.copy]))
        archive = f", nor {ARCHIVE}" if self.copy == "official" else ""
        return (
            f"cifar10: no {FILES[0]} ... {FILES[-1]} of {sizes} bytes{archive} are in {places}; {self._fix()}"
        )

    def _fix(self) -> str:
        if self.copy == "jpeg":
            return (
                f"put the copy into $BENCH_DATA/<any name>/{FOLDER}, or name it: cifar10[copy=jpeg,root=DIR]"
            )
        return "fetch the official archive: bench data get cifar10; or name its folder: cifar10[root=DIR]"

    def _places(self) -> Iterator[Path]:
        """Where it may lie: what the user names, or below ``$BENCH_DATA``."""
        known = find_data(self.root) if self.root else data_folder() or Path("$BENCH_DATA")
        yield from (known / ARCHIVE, known / FOLDER, *sorted(known.glob(f"*/{FOLDER}")))
        if self.root:
            yield known

    def _place(self) -> Path | None:
        """The first archive or folder of this copy; of the archive there is only the official one."""
        for path in self._places():
            if path.is_file() and self.copy == "official":
                return path
            sizes = [count * ROW for count in COUNTS[self.copy]]
            if [file.stat().st_size for name in FILES if (file := path / name).is_file()] == sizes:
                return path
        return None

    def _wanted(self) -> str:
        """The digest that the rows must have; of the official ones none is known here."""
        if self.digest or self.copy == "official":
            return self.digest
        return cast("DatasetCard", read_card(Path(__file__).with_name("card.toml"), "dataset")).sha256

    def _read(self, place: Path) -> Iterator[bytes]:
        """The bytes of the six files, training images first."""
        try:
            if place.is_dir():
                yield from ((place / name).read_bytes() for name in FILES)
                return
            with place.open("rb") as file:
                if (found := hashlib.file_digest(file, "md5").hexdigest()) != MD5:
                    raise BenchError(f"cifar10: the MD5 of {place} is {found}, expected {MD5}; {self._fix()}")
            with tarfile.open(place, "r:gz") as archive:
                for name in FILES:
                    held = archive.extractfile(f"{FOLDER}/{name}")
                    yield held.read() if held is not None else b""
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            raise BenchError(f"cifar10: {place} cannot be read: {error}; {self._fix()}") from None
