"""One image file as a picture: upright, opaque, and in a mode whose range is known.

The rules, by what Pillow calls the mode of the file:

| mode | rule |
| --- | --- |
| ``1``, ``L``, ``P``, ``RGB``, ``CMYK``, ``YCbCr`` | converted to 8 bits of grey or colour, 0..255 |
| transparent (alpha, or a colour that stands for it) | laid on :data:`GROUND` before anything is resized |
| ``I;16`` in any order of bytes, ``I`` | whole numbers 0..65535; :func:`scale_of` all of a folder is white |
| ``F`` | numbers in [0, 1] |
| all others, and values outside | refused |

Of an animation or a file with several pages the first image is read.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; no format that starts a program or refers to other files is among them."""
ENDINGS = frozenset(
    {
        *(".apng", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Of the names of image files, in lower case."""
GROUND = (128, 128, 128)
"""Under transparent pixels: on mid-grey neither white nor black drawings vanish."""
UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)
"""What a file that is broken, too large or of no known kind raises."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of grey that instruments deliver in files of 16 bits."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


class Picture(NamedTuple):
    """One decoded file.

    Attributes:
        image: mode ``L`` or ``RGB``, 0..255, or mode ``F``.
        highest: the largest value in it where it is of mode ``F`` and holds whole numbers 0..65535, which
            have to be divided by the :func:`scale_of` the folder; None where the range is known.
    """

    image: Image.Image
    highest: int | None = None


def read_picture(path: Path, *, channels: int) -> Picture:
    """Decodes a file.

    Args:
        path: of the file; its content says of what format it is.
        channels: 1 for grey, 3 for colour; images of mode ``F`` stay grey.

    Raises:
        UNREADABLE: it is no image, broken, or breaks a rule of this module; the message says which.
    """
    if not path.stat().st_size:
        raise ValueError("the file is empty")
    # Given a name, Pillow maps plain TIFF files into memory, and mixes up the sides of those that lie.
    with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as file:
        file.load()
        negative = getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        image = ImageOps.exif_transpose(file)
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep(image, negative=negative)
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", drawn.size, (*GROUND, 255)), drawn)
    return Picture(image.convert("L" if channels == 1 else "RGB"))


def scale_of(highest: int) -> int:
    """What is white in files of 16 bits: 255, 1023, 4095, 16383 or 65535.

    Such files do not say how many of their bits are used: 12-bit radiographs divided by 65535 would be
    black. So it is the smallest of these numbers that is no less than any value of the whole folder.

    Args:
        highest: the largest value in all of them.
    """
    bits = next(bits for bits in DEPTHS if highest < 1 << bits)
    return (1 << bits) - 1


def _deep(image: Image.Image, *, negative: bool) -> Picture:
    """Grey values of more than 8 bits."""
    if "transparency" in image.info:
        raise ValueError("it has a transparent value in more than 8 bits; save it without transparency")
    if negative:
        raise ValueError("white is zero in it, in more than 8 bits; save it inverted, with black as zero")
    values: np.ndarray[Any, Any] = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # what is not a number is neither
            raise ValueError(
                f"its numbers are from {low:g} to {high:g}; scale them to [0, 1], or save 8 or 16 bits"
            )
        return Picture(image)
    if not (low >= 0 and high < 2**16):
        raise ValueError(f"its whole numbers are from {low} to {high}; shift and scale them to 0..65535")
    return Picture(Image.fromarray(values.astype(np.float32)), int(high))
