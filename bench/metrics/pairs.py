"""Distances of images that are known to belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.perceptual import Lpips
from bench.metrics.pixel import psnr
from bench.metrics.ssim import ssim


def pair_means(left: Tensor, right: Tensor, *, lpips: Lpips | None) -> dict[str, float]:
    """Mean PSNR (dB), SSIM and LPIPS of image i on the left against image i on the right.

    Args:
        left: ``[M, C, H, W]`` in [0, 1]; images with non-finite pixels are in no mean.
        right: ``[M, C, H, W]``, finite.
        lpips: the metric; without it there is no mean of that name.
    """
    found = {"psnr": psnr(right, left), "ssim": ssim(right, left)}
    if lpips is not None:
        found["lpips"] = (lpips.embed(left) - lpips.embed(right)).square().sum(1)
    return {name: torch.nanmean(value.double()).item() for name, value in found.items()}
