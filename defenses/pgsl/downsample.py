"""What a client's network takes: the attacked image in 2x2 blocks, and its map (Section IV-B)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle

from bench.api import IncompatibleError

Shape = tuple[int, int, int]
FACTOR = 2


def carrier_shape(image_shape: Shape) -> Shape:
    """The shape (4C+1, H/2, W/2) of a carrier of images (C, H, W).

    Raises:
        IncompatibleError: H or W is odd.
    """
    channels, height, width = image_shape
    if height % FACTOR or width % FACTOR:
        raise IncompatibleError(f"pgsl splits images in 2x2 blocks, which {height}x{width} pixels are not")
    return FACTOR**2 * channels + 1, height // FACTOR, width // FACTOR


def pack(attacked: Tensor, difference: Tensor) -> Tensor:
    """Carriers ``[..., 4C+1, H/2, W/2]``.

    Args:
        attacked: x^, ``[..., C, H, W]``. Space-to-depth only permutes its entries.
        difference: x^ - x, of the same shape. Its mean over channels and 2x2 blocks is the last channel.
    """
    blocks = pixel_unshuffle(difference.mean(-3, keepdim=True), FACTOR)
    return torch.cat([pixel_unshuffle(attacked, FACTOR), blocks.mean(-3, keepdim=True)], dim=-3)


def attacked_of(carriers: Tensor) -> Tensor:
    """The attacked images ``[..., C, H, W]`` inside of carriers, to the bit."""
    return pixel_shuffle(carriers[..., :-1, :, :], FACTOR)


def map_of(carriers: Tensor) -> Tensor:
    """The map channel ``[..., 1, H/2, W/2]``."""
    return carriers[..., -1:, :, :]


def unmapped(carriers: Tensor) -> Tensor:
    """The images ``[M, C, H, W]`` as far as carriers tell them: x^ less the map channel on all channels."""
    return (attacked_of(carriers) - interpolate(map_of(carriers), scale_factor=FACTOR)).clamp(0, 1)
