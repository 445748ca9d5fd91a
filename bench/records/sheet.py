"""The contact sheet of a cell: originals above, reconstructions below, pixel for pixel."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = 8
"""At most so many; the first ones, never the best ones."""


def sheet(originals: Tensor, reconstructions: Tensor, order: Tensor) -> bytes:
    """A lossless PNG of two rows.

    Args:
        originals: ``[N, B, C, H, W]`` in [0, 1].
        reconstructions: ``[N, B, C, H, W]``; what is not finite is drawn black.
        order: int64 ``[N, B]``, which reconstruction stands for which original.
    """
    import torch
    from PIL import Image

    index = order.to(reconstructions.device)[:, :, None, None, None].expand_as(reconstructions)
    matched = reconstructions.gather(1, index)
    rows = [torch.cat(list(part.flatten(0, 1)[:IMAGES].cpu()), dim=-1) for part in (originals, matched)]
    picture = torch.cat(rows, dim=-2).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
    pixels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
