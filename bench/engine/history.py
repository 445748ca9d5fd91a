"""The memory of batched L-BFGS: a ring of pairs per row, and the direction that they imply."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass
class History:
    """Steps s and gradient changes y of N rows, at most m each.

    The long vectors lie in a ring, so that storing a pair moves nothing else. The small matrices are kept in
    the order of time, oldest pair first. What is not filled yet is zero in the ring and the identity in
    ``upper``, so that it takes no part in any product and needs no mask.

    Attributes:
        pairs: ``[N, 2m, D]``: m steps, then m gradient changes.
        upper: float64 ``[N, m, m]``: R, the upper triangle of S'Y.
        energy: float64 ``[N, m, m]``: Y'Y.
        count: int64 ``[N]``, pairs ever stored since the last time the row forgot.
    """

    pairs: Tensor
    upper: Tensor
    energy: Tensor
    count: Tensor

    @classmethod
    def empty(cls, rows: int, size: int, like: Tensor) -> Self:
        """No pairs yet, for points ``like [N, D]``."""
        identity = torch.eye(size, dtype=torch.float64, device=like.device)
        return cls(
            pairs=like.new_zeros(rows, 2 * size, like.shape[1]),
            upper=identity.repeat(rows, 1, 1),
            energy=torch.zeros(rows, size, size, dtype=torch.float64, device=like.device),
            count=torch.zeros(rows, dtype=torch.long, device=like.device),
        )

    @property
    def size(self) -> int:
        """m, the length of the ring."""
        return self.pairs.shape[1] // 2

    def keep(self, rows: Tensor) -> Self:
        """The memory of some rows."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def filled(self) -> Tensor:
        """Bool ``[N]``: rows that remember anything."""
        return self.count > 0

    def forget(self, rows: Tensor) -> None:
        """Empties the memory of the rows marked true."""
        index = (rows & self.filled()).nonzero()[:, 0]
        if not len(index):
            return
        self.pairs[index], self.energy[index], self.count[index] = 0.0, 0.0, 0
        self.upper[index] = torch.eye(self.size, dtype=torch.float64, device=rows.device)

    def add(self, step: Tensor, change: Tensor, rows: Tensor) -> None:
        """Stores one pair in the rows marked true, if its curvature is positive.

        Args:
            step: ``[N, D]``.
            change: ``[N, D]``.
            rows: bool ``[N]``.
        """
        curvature = (step * change).sum(1)
        rows = rows & (curvature > 1e-12 * change.square().sum(1)) & (curvature > 0)
        index = rows.nonzero()[:, 0]
        if not len(index):
            return
        slot = self.count[index] % self.size
        self.pairs[index, slot] = step[index]
        self.pairs[index, slot + self.size] = change[index]
        self.count = self.count + rows.long()
        steps, changes = self._products(change)
        taken = rows[:, None, None]
        self.upper = torch.where(taken, _pushed(self.upper, steps), self.upper)
        energy = _pushed(self.energy, changes)
        energy[:, -1, :] = changes
        self.energy = torch.where(taken, energy, self.energy)

    def direction(self, slope: Tensor) -> Tensor:
        """The quasi-Newton direction -H g of every row; -g where nothing is remembered.

        Compact form: ``H = c I + [S, c Y] [[R^-T (E + c Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, c Y]'`` with R
        the upper triangle of S'Y in the order of time, E its diagonal and c = s'y / y'y of the last pair.

        Args:
            slope: ``[N, D]`` gradients g.
        """
        diagonal = self.upper.diagonal(dim1=1, dim2=2)
        newest = diagonal[:, -1] / self.energy[:, -1, -1].clamp_min(1e-300)
        scale = torch.where(self.filled(), newest, 1.0)[:, None]
        steps, changes = self._products(slope)
        lower = torch.linalg.solve_triangular(self.upper, steps.unsqueeze(2), upper=True)
        turned = torch.bmm(self.energy, lower).squeeze(2) - changes
        middle = (diagonal * lower.squeeze(2) + scale * turned).unsqueeze(2)
        front = torch.linalg.solve_triangular(self.upper.mT, middle, upper=False)
        weights = torch.cat([front.squeeze(2), -scale * lower.squeeze(2)], dim=1)
        placed = torch.zeros_like(weights).scatter(1, self._places(), weights).to(slope.dtype)
        bent = torch.bmm(placed.unsqueeze(1), self.pairs).squeeze(1)
        return -(scale.to(slope.dtype) * slope + bent)

    def _products(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Inner products of ``vector [N, D]`` with all steps and all changes, in the order of time."""
        # As a row times a matrix: the column form of this product is more than ten times slower on a CPU.
        inner = torch.bmm(vector.unsqueeze(1), self.pairs.mT).squeeze(1).double()
        steps, changes = inner.gather(1, self._places()).split(self.size, dim=1)
        return steps, changes

    def _places(self) -> Tensor:
        """Where steps and changes lie in ``pairs``, oldest first: int64 ``[N, 2m]``."""
        turn = torch.arange(self.size, device=self.count.device)
        order = (self.count.unsqueeze(1) + turn) % self.size
        return torch.cat([order, order + self.size], dim=1)


def _pushed(matrix: Tensor, column: Tensor) -> Tensor:
    """``matrix [N, m, m]`` without its oldest row and column, and with a newest column ``[N, m]``."""
    moved = torch.zeros_like(matrix)
    moved[:, :-1, :-1] = matrix[:, 1:, 1:]
    moved[:, :, -1] = column
    return moved
