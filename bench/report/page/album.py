"""Reconstructions as pictures inside the page: each strip once, pixel for pixel."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Strip:
    """Up to eight images side by side.

    Attributes:
        name: of the picture, the beginning of its checksum.
        uri: the picture itself, as a data URI.
        images: how many there are.
        side: pixels of one image.
    """

    name: str
    uri: str
    images: int
    side: int


@dataclass(frozen=True)
class Sheet:
    """The private images of a cell, and what its attack made of their releases."""

    originals: Strip
    reconstructions: Strip


class Album:
    """The contact sheets of a results folder.

    Args:
        folder: with ``<cell id>.png``, originals above reconstructions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sheets: dict[str, Sheet | None] = {}
        self._strips: dict[bytes, Strip] = {}

    def sheet(self, cell: str) -> Sheet | None:
        """The sheet of a cell; None if it is missing or not a picture."""
        if cell not in self._sheets:
            self._sheets[cell] = self._read(self._folder / f"{cell}.png")
        return self._sheets[cell]

    def holds(self, cell: str) -> bool:
        """Whether there is a file that should be the sheet of a cell."""
        return (self._folder / f"{cell}.png").is_file()

    def _read(self, path: Path) -> Sheet | None:
        try:
            with Image.open(path) as picture:
                image = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
        except (OSError, ValueError, SyntaxError):
            return None
        side = image.height // 2
        if side == 0 or image.width % side:
            return None
        return Sheet(*(self._strip(image.crop((0, y, image.width, y + side))) for y in (0, side)))

    def _strip(self, image: Image.Image) -> Strip:
        pixels = image.tobytes()
        if pixels not in self._strips:
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            data = buffer.getvalue()
            self._strips[pixels] = Strip(
                name=hashlib.sha256(data).hexdigest()[:10],
                uri="data:image/png;base64," + base64.b64encode(data).decode("ascii"),
                images=image.width // image.height,
                side=image.height,
            )
        return self._strips[pixels]
