"""Random views of images, one for each: a crop, a turn and a flip, each of them half of the time."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of the training, differentiable in the images.

    Attributes:
        zoom: a crop takes ``1 - zoom`` to 1 of the area.
        turn: the largest angle, in degrees.
        flip: how often an image is mirrored, in [0, 1].
    """

    zoom: float
    turn: float
    flip: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A view of each image, ``[M, C, H, W]``."""
        draws = torch.rand(7, len(images), generator=generator, device=images.device, dtype=images.dtype)
        cropped, turned = draws[0] < 0.5, draws[1] < 0.5
        side = torch.where(cropped, (1 - self.zoom * draws[2]).sqrt(), 1.0)
        angle = torch.where(turned, (2 * draws[3] - 1) * self.turn * pi / 180, 0.0)
        mirror = torch.where(draws[6] < self.flip, -1.0, 1.0)
        moves = (2 * draws[4:6] - 1) * (1 - side)
        rows = (
            torch.stack([mirror * side * angle.cos(), -side * angle.sin(), moves[0]], 1),
            torch.stack([mirror * side * angle.sin(), side * angle.cos(), moves[1]], 1),
        )
        grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)
