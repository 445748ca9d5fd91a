"""Squared Euclidean distances between embeddings, accurate enough to compare ties."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 8192
"""Columns turned to float64 at a time, so that wide embeddings never need a full float64 copy."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of `a` to every row of `b`.

    |x|^2 - 2 x.y + |y|^2 cancels badly in float32 for near rows, so everything is summed in float64;
    a row with a NaN makes its own distances NaN and no others.

    Args:
        a: `[P, E]`.
        b: `[Q, E]`, on the same device.

    Returns:
        `[P, Q]` float64, >= 0.

    Raises:
        ValueError: if the two are not matrices of one width.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings must be [P, E] and [Q, E], got {tuple(a.shape)} and {tuple(b.shape)}")
    total = torch.zeros(a.shape[0], b.shape[0], dtype=torch.float64, device=a.device)
    for x, y in zip(torch.split(a, _BLOCK, dim=1), torch.split(b, _BLOCK, dim=1), strict=True):
        x64, y64 = x.double(), y.double()
        total += x64.square().sum(1)[:, None] + y64.square().sum(1)[None, :]
        total.addmm_(x64, y64.T, alpha=-2.0)
    return total.clamp_(min=0.0)
