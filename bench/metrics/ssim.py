"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), one value per image.

A Gaussian window over the valid region is a banded matrix on the rows and another on the columns, so the
windowed moments of a whole batch are two matrix products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.pixel import finite_pairs

SIGMA = 1.5
WINDOW = 11
K1, K2 = 0.01, 0.03

_CHUNK_PIXELS = 2**16
"""Pixels worked on at once: small enough for the float64 moments to stay in a core's cache."""


def gaussian_band(size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Banded matrix that averages a line of `size` pixels under the Gaussian window, valid region only.

    Returns:
        `[size - WINDOW + 1, size]` float64, rows summing to one.

    Raises:
        ValueError: if the line is shorter than the window.
    """
    if size < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, got a side of {size}")
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=device) - WINDOW // 2
    taps = torch.exp(-0.5 * (offsets / SIGMA).square())
    band = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64, device=device)
    for row in range(band.shape[0]):
        band[row, row : row + WINDOW] = taps / taps.sum()
    return band


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity per image, after clamping to [0, 1].

    Equal to `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=0)`, which crops the border where the window
    does not fit. Works in float64 inside: in flat bright regions the variance, a difference of nearly equal
    moments, is otherwise lost against K2.

    Args:
        a: `[M, C, H, W]` with both sides >= 11.
        b: `[M, C, H, W]`.

    Returns:
        `[M]` in [-1, 1], of the images' dtype; NaN where either image has a non-finite pixel.

    Raises:
        ValueError: if the shapes differ, are not `[M, C, H, W]`, or a side is below 11.
    """
    clean_a, clean_b, finite = finite_pairs(a, b)
    _, channels, height, width = a.shape
    rows, columns = gaussian_band(height, device=a.device), gaussian_band(width, device=a.device)
    chunk = max(1, _CHUNK_PIXELS // (channels * height * width))
    values = [
        _mean_similarity(x.double(), y.double(), rows, columns)
        for x, y in zip(torch.split(clean_a, chunk), torch.split(clean_b, chunk), strict=True)
    ]
    return torch.where(finite, torch.cat(values).to(clean_a.dtype), torch.nan)


def _mean_similarity(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """SSIM `[M]` of float64 images `[M, C, H, W]` (equation 13 of the paper, averaged over its map)."""
    # Only the sum of both variances enters the formula: four windowed maps do instead of five.
    maps = torch.stack([x, y, x * x + y * y, x * y])
    kinds, images = maps.shape[:2]
    # The band stands left of one wide matrix: with it on the right, products take twice as long on a CPU.
    maps = (columns @ maps.flatten(0, -2).mT).view(len(columns), -1, x.shape[-2])
    maps = (rows @ maps.flatten(0, 1).mT).view(len(rows), len(columns), kinds, images, -1)
    mean_x, mean_y, squares, product = maps.unbind(2)
    means, mean_squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    c1, c2 = K1**2, K2**2
    luminance = (2.0 * means + c1) / (mean_squares + c1)
    structure = (2.0 * (product - means) + c2) / (squares - mean_squares + c2)
    return (luminance * structure).mean((0, 1, 3))
