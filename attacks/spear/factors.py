"""The gradient of a linear layer as a product of thin matrices, in units of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 2.0**-24
"""Of a float32 number, relative to it: half of its last digit, as roundings of equal pixels are equal."""
GAP = 3.0
"""How far above the next singular value one must lie that holds a signal: roundings are alike where pixels
are, so that of their singular values the first is larger than the others."""
EDGE = 1.05
"""The same where noise was added, above the largest singular value that it is expected to have."""
ADDED = 2.0
"""Noise so many times that of rounding was added: its entries are independent."""
PASSES = 2
"""Over the noise of the rows, each with the factors of the last one."""
RIDGE = 1e-9
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Factors:
    """``dL/dW = diag(noise) (U diag(S) V' + E)`` with noise E of standard deviation one.

    The noise of ``U q`` then is ``|S^-1 q|`` in every row.

    Attributes:
        left: U, orthonormal columns, ``[m, b]``.
        values: S, ``[b]``.
        right: V, orthonormal columns, ``[n, b]``.
        noise: standard deviation of an entry of each row, ``[m]``.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    noise: Tensor

    @property
    def rank(self) -> int:
        """b, how many different images the release tells apart."""
        return len(self.values)

    def spread(self, directions: Tensor) -> Tensor:
        """Standard deviation of the noise of ``U q``, ``[...]`` for directions ``[..., b]``."""
        found: Tensor = (directions / self.values).norm(dim=-1)
        return found


def factorised(gradient: Tensor, most: int) -> Factors:
    """Splits off what lies above the noise, whose size is read off the residual of B components.

    A released number is rounded relative to its own size: rows of small entries are the more exact, and they
    alone tell of images whose gradient is small. Noise that was added is alike in all rows.

    Args:
        gradient: dL/dW, float64 ``[m, n]``.
        most: B; the rank is no higher.
    """
    size = gradient.square().mean(1).sqrt()
    least = ROUNDING * size.clamp_min(1e-6 * size.max()).clamp_min(1e-30)
    noise, added, most = least, False, min(most, *(side - 1 for side in gradient.shape))
    fitted = math.prod((1 - most / side) ** -0.5 for side in gradient.shape)  # components took their part
    for _ in range(PASSES):
        left, values, right = _components(gradient / noise[:, None], most)
        residual = gradient - noise[:, None] * (left * values) @ right.T
        left_over = fitted * residual.square().mean(1).sqrt()
        added = bool(left_over.median() > ADDED * least.median())
        noise = left_over.median().expand_as(least) if added else torch.maximum(left_over, least)
    left, values, right = _components(gradient / noise[:, None], most + 1)
    # The largest singular value of independent entries of variance one (Bai and Yin 1993).
    edge = EDGE * sum(side**0.5 for side in gradient.shape) if added else GAP * float(values[most])
    rank = int((values[:most] > edge).sum())
    return Factors(left[:, :rank], values[:rank], right[:, :rank], noise)


def _components(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values and their vectors, by subspace iteration (Halko et al. 2011)."""
    wide = min(2 * count + 8, *matrix.shape)
    places = torch.arange(1, matrix.shape[1] + 1).to(matrix)
    start = torch.outer(places, places[:wide] * GOLDEN).cos()  # as good as random, and needs no seed
    basis = torch.linalg.qr(matrix @ start)[0]
    for _ in range(3):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :count], values[:count], right[:count].T


def completed(gradient: Tensor, sent: Tensor, rank: int, *, steps: int) -> Tensor:
    """The matrix of rank B through the entries that were sent, by alternating least squares.

    Rows of which less than B entries were sent stay zero.

    Args:
        gradient: dL/dW, float64 ``[m, n]``, zero where nothing was sent.
        sent: bool ``[m, n]``.
        rank: B.
        steps: of the alternation.
    """
    known = sent.to(gradient)
    right = _components(gradient, rank)[2]
    left = gradient @ right
    for _ in range(steps):
        left = _fitted(gradient, known, right)
        right = torch.linalg.qr(_fitted(gradient.T, known.T, left))[0]
    left = _fitted(gradient, known, right) * (known.sum(1, keepdim=True) >= rank)
    return torch.where(sent, gradient, left @ right.T)


def _fitted(rows: Tensor, known: Tensor, other: Tensor) -> Tensor:
    """Least squares for each row ``[n]`` of a matrix ``[m, n]`` by factors ``[n, b]``, over what is known."""
    size = other.shape[1]
    squares = (other[:, :, None] * other[:, None, :]).flatten(1)
    system = (known @ squares).view(-1, size, size)
    scale = system.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)[:, None, None]
    damped = system + RIDGE * scale * torch.eye(size).to(system)
    solved: Tensor = torch.linalg.solve(damped, (rows @ other)[..., None])[..., 0]
    return solved
