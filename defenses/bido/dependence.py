"""The normalised Hilbert-Schmidt independence criterion (Fukumizu, Gretton, Sun, Schölkopf, NeurIPS 2007)."""

from __future__ import annotations

import torch
from torch import Tensor

BANDWIDTH = 5.0
"""Of the Gaussian kernels, in units of the square root of the number of columns (Peng et al. 2022)."""
RIDGE = 1e-5
"""Regularises the inverses of the normalisation, times the number of rows (Peng et al. 2022)."""


def gaussian(rows: Tensor) -> Tensor:
    """The centred Gram matrix of M rows under ``exp(-|a - b|^2 / (2 * 25 * D))``.

    Args:
        rows: ``[M, D]``.

    Returns:
        ``[M, M]``: H K H with ``H = I - 1/M``.
    """
    near = rows - rows.mean(0)
    inner = near @ near.T
    norms = inner.diagonal()
    squared = (norms[:, None] + norms[None, :] - 2 * inner).clamp(min=0)
    # Such wide kernels are close to one; centring removes the one, so it is left out while digits are there.
    return _centred(torch.expm1(-squared / (2 * BANDWIDTH**2 * rows.shape[1])))


def same_class(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """The centred Gram matrix ``[M, M]`` of M labels, linear in their one-hot vectors: one where equal."""
    return _centred((labels[:, None] == labels[None, :]).to(dtype))


def whitened(gram: Tensor) -> Tensor:
    """``K (K + eps M I)^-1`` of a centred Gram matrix ``[M, M]``: its directions, no matter their scale."""
    ridge = RIDGE * len(gram) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # Both factors are functions of the same symmetric matrix, so they commute.
    solved: Tensor = torch.linalg.solve(gram + ridge, gram)
    return solved


def dependence(left: Tensor, right: Tensor) -> Tensor:
    """The normalised HSIC of two variables, ``tr(R_left R_right)``, a scalar in [0, M).

    Args:
        left: ``[M, M]``, one variable's centred Gram matrix, :func:`whitened`.
        right: ``[M, M]``, the other's.
    """
    return (left * right.T).sum()


def _centred(gram: Tensor) -> Tensor:
    return gram - gram.mean(0, keepdim=True) - gram.mean(1, keepdim=True) + gram.mean()
