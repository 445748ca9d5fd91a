"""Random views of images: a little moved, a little nearer or farther."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Views:
    """Random transforms, the same ones for all rows, so that none depends on its neighbours.

    Attributes:
        shift: largest move along each axis, in pixels.
        zoom: largest change of the scale, as a share of it.
    """

    shift: float
    zoom: float

    def draw(self, count: int, *, seed: int) -> Tensor:
        """Transforms ``[count, 3]``: scale, move down, move right."""
        share = 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1
        return share * torch.tensor([self.zoom, self.shift, self.shift]) + torch.tensor([1.0, 0.0, 0.0])

    def see(self, images: Tensor, transform: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` through one transform ``[3]``; what lies outside repeats the border.

        Linear interpolation along each axis by a matrix: its gradient is the same on any device in any run.
        """
        scale, *moves = transform.tolist()
        rows, columns = (
            _resampling(size, scale, move).to(images)
            for size, move in zip(images.shape[-2:], moves, strict=True)
        )
        return rows @ images @ columns.T


def _resampling(size: int, scale: float, move: float) -> Tensor:
    """``[size, size]``: row i holds the weights of the pixels that the new pixel i lies between."""
    centre = (size - 1) / 2
    places = torch.arange(size, dtype=torch.float64)
    sources = ((places - centre) * scale + centre + move).clamp(0, size - 1)
    return (1 - (sources[:, None] - places).abs()).clamp_min(0)
