"""The memory of batched L-BFGS: a ring of pairs per row, and the direction that they imply."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass
class History:
    """Steps s and gradient changes y of N rows, at most m each, in a ring.

    Attributes:
        pairs: ``[N, 2m, D]``: m steps, then m gradient changes.
        products: float64 ``[N, 2m, 2m]``: all inner products of ``pairs``.
        count: int64 ``[N]``, pairs ever stored since the last time the row forgot.
    """

    pairs: Tensor
    products: Tensor
    count: Tensor

    @classmethod
    def empty(cls, rows: int, size: int, like: Tensor) -> Self:
        """No pairs yet, for points ``like [N, D]``."""
        return cls(
            pairs=like.new_zeros(rows, 2 * size, like.shape[1]),
            products=torch.zeros(rows, 2 * size, 2 * size, dtype=torch.float64, device=like.device),
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
        self.count = torch.where(rows, 0, self.count)

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
        pair = torch.stack([step, change], dim=2)
        inner = torch.bmm(self.pairs, pair).double()[index]
        for offset, column in ((0, inner[..., 0]), (self.size, inner[..., 1])):
            self.products[index, :, slot + offset] = column
            self.products[index, slot + offset, :] = column
        self.count[index] += 1

    def direction(self, slope: Tensor) -> Tensor:
        """The quasi-Newton direction -H g of every row; -g where nothing is remembered.

        Compact form: ``H = c I + [S, c Y] [[R^-T (E + c Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, c Y]'`` with R
        the upper triangle of S'Y in the order of time, E its diagonal and c = s'y / y'y of the last pair.

        Args:
            slope: ``[N, D]`` gradients g.
        """
        size = self.size
        order, valid = self._in_time()
        both = torch.cat([order, order + size], dim=1)
        products = self.products.gather(1, both.unsqueeze(2).expand(-1, -1, 2 * size))
        products = products.gather(2, both.unsqueeze(1).expand(-1, 2 * size, -1))
        pair = valid.unsqueeze(1) & valid.unsqueeze(2)
        cross = torch.where(pair, products[:, :size, size:], 0.0)
        changes = torch.where(pair, products[:, size:, size:], 0.0)
        diagonal = torch.where(valid, cross.diagonal(dim1=1, dim2=2), 1.0)
        upper = cross.triu(1) + torch.diag_embed(diagonal)
        energy = changes[:, -1, -1].clamp_min(1e-300)
        scale = torch.where(self.filled(), diagonal[:, -1] / energy, 1.0)

        inner = torch.bmm(self.pairs, slope.unsqueeze(2)).squeeze(2).double().gather(1, both)
        steps = torch.where(valid, inner[:, :size], 0.0).unsqueeze(2)
        turns = torch.where(valid, inner[:, size:], 0.0).unsqueeze(2) * scale[:, None, None]
        lower = torch.linalg.solve_triangular(upper, steps, upper=True)
        middle = torch.bmm(torch.diag_embed(diagonal) + scale[:, None, None] * changes, lower) - turns
        front = torch.linalg.solve_triangular(upper.transpose(1, 2), middle, upper=False)
        weights = torch.cat([front, -lower * scale[:, None, None]], dim=1).squeeze(2)
        weights = torch.where(torch.cat([valid, valid], dim=1), weights, 0.0)
        placed = torch.zeros_like(weights).scatter(1, both, weights).to(slope.dtype)
        bent = torch.bmm(placed.unsqueeze(1), self.pairs).squeeze(1)
        return -(scale.to(slope.dtype).unsqueeze(1) * slope + bent)

    def _in_time(self) -> tuple[Tensor, Tensor]:
        """Ring positions from oldest to newest ``[N, m]``, and which of them are filled (the last ones)."""
        size = self.size
        turn = torch.arange(size, device=self.count.device)
        order = (self.count.unsqueeze(1) + turn) % size
        valid = turn >= size - self.count.clamp_max(size).unsqueeze(1)
        return order, valid
