"""Distance correlation (Szekely, Rizzo, Bakirov, Annals of Statistics 2007)."""

from __future__ import annotations

import torch
from torch import Tensor


def distance_correlation(left: Tensor, right: Tensor) -> Tensor:
    """The sample distance correlation of paired rows, differentiable (Definition 5).

    With doubly centred Euclidean distance matrices A and B of the two sides, it is the square root of
    ``mean(A B) / sqrt(mean(A A) mean(B B))``: the biased estimate, which is positive for independent samples
    too, the more so the fewer rows and the more columns there are.

    Args:
        left: ``[..., M, P]``, M paired observations.
        right: ``[..., M, Q]``.

    Returns:
        ``[...]`` in [0, 1]; zero where one side is constant.
    """
    first, second = _centred(left), _centred(right)
    covariance = (first * second).mean((-2, -1))
    energy = first.square().mean((-2, -1)) * second.square().mean((-2, -1))
    positive = (covariance > 0) & (energy > 0)
    # A square root has no derivative at zero: what stands below it is replaced where the answer is zero.
    squared = covariance / torch.where(positive, energy, torch.ones_like(energy)).sqrt()
    return torch.where(positive, torch.where(positive, squared, torch.ones_like(squared)).sqrt(), 0)


def _centred(rows: Tensor) -> Tensor:
    """Euclidean distances ``[..., M, M]`` between rows, less the means of their row and column."""
    # Rows near the origin: the distances are computed from inner products, which lose digits far from it.
    near = rows - rows.mean(-2, keepdim=True)
    apart = 1 - torch.eye(rows.shape[-2], dtype=rows.dtype, device=rows.device)
    distances = apart * torch.cdist(near, near, compute_mode="use_mm_for_euclid_dist")
    columns, lines = distances.mean(-2, keepdim=True), distances.mean(-1, keepdim=True)
    return distances - columns - lines + distances.mean((-2, -1), keepdim=True)
