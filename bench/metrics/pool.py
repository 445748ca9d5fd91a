"""Which private images stand beside those that were released, for the scores and for bounds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bench.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

POOL = 2500
"""Private images, those released among them, of which a reconstruction must be nearest to its original."""
PIXELS = 2**26
"""Pixels of the pool; it holds fewer images where they are larger than 163 x 163, so that 1.5 GB suffice."""


def pool_of(images: Tensor, *, seed: int, size: int | None = None) -> Tensor:
    """Rows ``[P]`` of the private images ``[M, C, H, W]`` from which distractors are taken, in their order.

    Args:
        images: ``private_train``.
        seed: of the cell: all its attacks and defenses share the pool.
        size: of the pool; None: all images, as many as it holds.
    """
    import torch

    wanted = size or min(POOL, PIXELS // images[0, 0].numel())
    generator = torch.Generator().manual_seed(derive_seed(seed, "pool"))
    return torch.randperm(len(images), generator=generator)[:wanted]


def others(drawn: Tensor, released: Tensor) -> Tensor:
    """Positions in the rows ``drawn [P]`` of the distractors: with those ``released`` they are P images."""
    import torch

    apart = (~torch.isin(drawn, released.flatten().cpu())).nonzero()[:, 0]
    return apart[: max(0, len(drawn) - released.numel())]


def by_digest(images: Tensor) -> Tensor:
    """The images ``[P, C, H, W]``, sorted by the sha256 of their bytes."""
    names = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images.cpu()]
    return images[sorted(range(len(names)), key=names.__getitem__)]
