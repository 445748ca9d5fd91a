"""One-to-one matching of the reconstructions of a release to its originals."""

from __future__ import annotations

import torch
from torch import Tensor


def assign(cost: Tensor) -> list[int]:
    """Cheapest one-to-one assignment (Hungarian method).

    Args:
        cost: `[B, B]`; `cost[i, j]` is the cost of taking reconstruction j for original i. NaN and infinite
            entries count as worse than any finite assignment, but are allowed when nothing else is left.

    Returns:
        `order`, of length B: `order[i]` is the index of the reconstruction matched to original i, so that
        `reconstructions[order]` is aligned with the originals.

    Raises:
        ValueError: if `cost` is not square.
    """
    from scipy.optimize import linear_sum_assignment  # imported late: scipy.optimize takes most of a second

    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"an assignment needs a square cost matrix, got {tuple(cost.shape)}")
    _, columns = linear_sum_assignment(_finite_cost(cost).numpy())
    return [int(column) for column in columns]


def _finite_cost(cost: Tensor) -> Tensor:
    """The costs scaled to [0, 1] in float64 on the CPU, non-finite ones above any sum of the others."""
    cost = cost.detach().cpu().double()
    finite = cost.isfinite()
    if not bool(finite.any()):
        return torch.zeros_like(cost)
    low, high = cost[finite].min(), cost[finite].max()
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return torch.where(finite, (cost - low) / span, float(cost.shape[0] + 1))
