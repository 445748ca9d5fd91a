"""Pixel fidelity: mean squared error and peak signal-to-noise ratio, one value per image."""

from __future__ import annotations

import torch
from torch import Tensor

PSNR_CAP = 80.0
"""dB. An exact reconstruction scores this (MSE 1e-8) instead of infinity, which no mean survives."""


def finite_images(images: Tensor) -> tuple[Tensor, Tensor]:
    """Clamp images to [0, 1] and say which of them were finite.

    Non-finite images come back black, so that no arithmetic on a batch can spread their NaN; callers put
    the NaN back by the mask. Clamping alone would hide an infinite pixel as a white one.

    Args:
        images: `[M, C, H, W]`, any floating dtype.

    Returns:
        The images `[M, C, H, W]` in [0, 1] (at least float32) and a bool mask `[M]`, true where every
        pixel was finite.

    Raises:
        ValueError: if `images` has not four dimensions, has no pixels or is not floating point.
    """
    if images.ndim != 4 or images[:1].shape[1:].numel() == 0:
        raise ValueError(f"images must be [M, C, H, W] with at least one pixel, got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1], got {images.dtype}")
    images = images.detach().to(torch.promote_types(images.dtype, torch.float32))
    # Both are NaN where any pixel is; `aminmax` or `isfinite().all()` along an axis take twenty times longer.
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    finite = low.isfinite() & high.isfinite()
    if not finite.all():
        images = torch.where(finite[:, None, None, None], images, 0.0)
    return images.clamp(0.0, 1.0), finite


def finite_pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`finite_images` of both, and the mask `[M]` of the pairs in which both are finite.

    Raises:
        ValueError: if the shapes differ or are not `[M, C, H, W]`.
    """
    if a.shape != b.shape:
        raise ValueError(f"images must come in pairs of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    clean_a, finite_a = finite_images(a)
    clean_b, finite_b = finite_images(b)
    return clean_a, clean_b, finite_a & finite_b


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per image, after clamping to [0, 1].

    Args:
        a: `[M, C, H, W]`.
        b: `[M, C, H, W]`.

    Returns:
        `[M]` in [0, 1]; NaN where either image has a non-finite pixel.

    Raises:
        ValueError: if the shapes differ or are not `[M, C, H, W]`.
    """
    clean_a, clean_b, finite = finite_pairs(a, b)
    error = (clean_a - clean_b).square().flatten(1).mean(1)
    return torch.where(finite, error, torch.nan)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image: -10 log10(MSE) for data range 1, at most `PSNR_CAP`.

    Args:
        a: `[M, C, H, W]`.
        b: `[M, C, H, W]`.

    Returns:
        `[M]` in dB, in [0, `PSNR_CAP`]; NaN where either image has a non-finite pixel.

    Raises:
        ValueError: if the shapes differ or are not `[M, C, H, W]`.
    """
    return (-10.0 * mse(a, b).log10()).clamp(0.0, PSNR_CAP)
