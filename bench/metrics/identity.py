"""Identification: can an observer tell from the reconstruction WHICH private image it shows?"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.distances import squared_distances

MIN_POOL = 30
"""Distractors below which being the nearest says too little; with so many, chance is right once in 31."""

TIE = 1e-9
"""Squared distances this close count as equal."""


def identified(
    reconstruction_emb: Tensor, pool_emb: Tensor, original_index: Tensor, *, min_pool: int = MIN_POOL
) -> Tensor:
    """Whether the nearest image of the pool is the original, and no other is equally near.

    Args:
        reconstruction_emb: `[M, E]`; a row with a NaN is never identified.
        pool_emb: `[P, E]`, originals and distractors together, without duplicates (two equal rows tie, and
            a tie identifies nobody).
        original_index: `[M]` integers; row of the pool that is the original of each reconstruction.
        min_pool: least number of pool rows that are nobody's original.

    Returns:
        bool `[M]` on the device of the embeddings.

    Raises:
        ValueError: if there are fewer than `min_pool` distractors, or shapes or indices do not fit.
    """
    count, size = reconstruction_emb.shape[0], pool_emb.shape[0]
    if original_index.shape != (count,):
        raise ValueError(f"original_index must be [{count}], got {tuple(original_index.shape)}")
    if count == 0:
        return torch.zeros(0, dtype=torch.bool, device=reconstruction_emb.device)
    if int(original_index.min()) < 0 or int(original_index.max()) >= size:
        raise ValueError(f"original_index must lie in 0..{size - 1}, the rows of the pool")
    distractors = size - int(torch.unique(original_index).numel())
    if distractors < min_pool:
        raise ValueError(f"identification needs >= {min_pool} distractors in the pool, got {distractors}")
    distance = squared_distances(reconstruction_emb, pool_emb)
    column = original_index.to(distance.device)[:, None]
    own = distance.gather(1, column)[:, 0]
    nearest_other = distance.scatter(1, column, torch.inf).amin(1)
    # A NaN on either side makes the comparison false, which is the wanted answer.
    return own + TIE < nearest_other
