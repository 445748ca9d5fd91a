"""Whether a contact sheet says what the rows of its cell say; needs nothing but the results folder.

A sheet shows the first images of a cell above their reconstructions, in whole numbers from 0 to 255.
Rounding moves every pixel of the two by at most half a step, so the root mean square error that a row's PSNR
stands for can differ from that of the picture by one step at most.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from bench.records.rows import COLUMNS, PLACE, Row
from bench.records.sheet import IMAGES

_STEP = 1 / 255
_ROUNDING = 1e-6
"""Rows have six digits."""


def sheet_agrees(data: bytes, rows: Sequence[Row]) -> bool:
    """Compares the errors seen in a picture with the PSNR of the rows; False also if it is no such picture.

    Args:
        data: the PNG.
        rows: all rows of the cell, in any order.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    place, psnr = COLUMNS.index(PLACE[0]), COLUMNS.index("psnr")
    first = sorted(rows, key=lambda row: (int(row[place]), int(row[place + 1])))[:IMAGES]
    try:
        pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64) / 255
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return False
    height, width = pixels.shape[0] // 2, pixels.shape[1] // len(first)
    if pixels.shape[0] != 2 * height or pixels.shape[1] != width * len(first):
        return False
    errors = (pixels[:height] - pixels[height:]) ** 2
    for number, row in enumerate(first):
        if not row[psnr]:
            continue  # it diverged: what the sheet shows of it is black
        seen = float(errors[:, number * width : (number + 1) * width].mean()) ** 0.5
        if abs(seen - 10 ** (-float(row[psnr]) / 20)) > _STEP + _ROUNDING:
            return False
    return True
