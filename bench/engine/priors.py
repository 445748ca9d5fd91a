"""What images look like before anything is observed, as costs per victim."""

from __future__ import annotations

from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """Anisotropic total variation: mean |dx| + mean |dy| over all pixels of a victim's batch.

    Args:
        images: ``[N, B, C, H, W]``.

    Returns:
        ``[N]``, in the images' units; about 0.1 for digits and 0.66 for uniform noise.
    """
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().flatten(1).mean(1)
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).mean(1)
    return horizontal + vertical


def outside_box(images: Tensor) -> Tensor:
    """Mean squared distance of the pixels from [0, 1]; zero inside.

    Args:
        images: ``[N, B, C, H, W]``.

    Returns:
        ``[N]``.
    """
    return (images - images.clamp(0, 1)).square().flatten(1).mean(1)
