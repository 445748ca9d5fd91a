"""The multi-kernel maximum mean discrepancy of two samples (Gretton et al. 2012; Long et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

_SCALES = tuple(2.0**power for power in range(-3, 2))
"""Of the five Gaussian kernels, times the mean squared distance of the samples."""


def discrepancy(left: Tensor, right: Tensor) -> Tensor:
    """The unbiased estimate of MK-MMD^2, a scalar; about zero for samples of one distribution.

    ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over pairs of different rows, where k is the mean of
    five kernels ``exp(-|a - b|^2 / (2 * scale * mean |a - b|^2))``.

    Args:
        left: ``[M, *Z]``, M > 1.
        right: ``[P, *Z]``, P > 1.
    """
    first, second = len(left), len(right)
    rows = torch.cat([left.flatten(1), right.flatten(1)])
    inner = rows @ rows.T
    norms = inner.diagonal()
    squares = (norms[:, None] + norms - 2 * inner).clamp_min(0)
    pairs = len(rows) * (len(rows) - 1)
    mean = (squares.detach().sum() / pairs).clamp_min(torch.finfo(rows.dtype).tiny)
    kernel = torch.stack([torch.exp(squares / (-2 * scale * mean)) for scale in _SCALES]).mean(0)
    kernel = kernel - kernel.diagonal().diag()
    within = kernel[:first, :first].sum() / (first * (first - 1))
    between = kernel[first:, first:].sum() / (second * (second - 1))
    return within + between - 2 * kernel[:first, first:].mean()
