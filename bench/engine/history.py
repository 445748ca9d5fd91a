"""The memory of batched L-BFGS: a ring of pairs per row, and the direction that they imply.

The direction is that of the compact representation (Byrd, Nocedal and Schnabel, Math. Programming 1994, Eq.
3.13). Of its triangular matrix R only the inverse is kept: a new pair adds one column to it, the oldest one
takes a row and a column away, and neither needs the order of time nor a triangular solve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass
class History:
    """Steps s and gradient changes y of N rows, at most m each, in rings.

    What is not filled is zero everywhere, so that it takes no part in any product and needs no mask. All
    has the precision of the points: matrices in float64 cost a tenth of a search and save it no evaluations.

    Attributes:
        steps: ``[N, m, D]``.
        changes: ``[N, m, D]``.
        inverse: ``[N, m, m]``: the inverse of R, the upper triangle (in the order of time) of S'Y.
        energy: ``[N, m, m]``: Y'Y.
        curvature: ``[N, m]``: s'y of each pair.
        count: int64 ``[N]``, pairs ever stored since the last time the row forgot.
        used: no row has filled more places of its ring; what lies behind is not read.
    """

    steps: Tensor
    changes: Tensor
    inverse: Tensor
    energy: Tensor
    curvature: Tensor
    count: Tensor
    used: int = 0

    @classmethod
    def empty(cls, rows: int, size: int, like: Tensor) -> Self:
        """No pairs yet, for points ``like [N, D]``."""
        return cls(
            steps=like.new_zeros(rows, size, like.shape[1]),
            changes=like.new_zeros(rows, size, like.shape[1]),
            inverse=like.new_zeros(rows, size, size),
            energy=like.new_zeros(rows, size, size),
            curvature=like.new_zeros(rows, size),
            count=torch.zeros(rows, dtype=torch.long, device=like.device),
        )

    @property
    def size(self) -> int:
        """m, the length of the ring."""
        return self.steps.shape[1]

    def keep(self, rows: Tensor) -> Self:
        """The memory of some rows, in the storage of this one, which must not be used any more.

        Only rows that change their place are copied.
        """
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        used = slice(self.used)
        for part in (self.steps, self.changes, self.inverse, self.energy, self.curvature):
            part[moved, used] = part[rows[moved], used]
        self.count[moved] = self.count[rows[moved]]
        left = slice(len(rows))
        return type(self)(
            steps=self.steps[left],
            changes=self.changes[left],
            inverse=self.inverse[left],
            energy=self.energy[left],
            curvature=self.curvature[left],
            count=self.count[left],
            used=self.used,
        )

    def filled(self) -> Tensor:
        """Bool ``[N]``: rows that remember anything."""
        return self.count > 0

    def forget(self, rows: Tensor) -> None:
        """Empties the memory of the rows marked true."""
        index = (rows & self.filled()).nonzero()[:, 0]
        if len(index):
            for part in (self.steps, self.changes, self.inverse, self.energy, self.curvature, self.count):
                part[index] = 0

    def turn(self, step: Tensor, change: Tensor, slope: Tensor, rows: Tensor) -> Tensor:
        """Stores a pair in some rows and gives every row its quasi-Newton direction.

        Both in one: most of the time goes into reading the pairs, which serves ``change`` and ``slope`` at
        once.

        Args:
            step: ``[N, D]``.
            change: ``[N, D]``, of the gradient along ``step``.
            slope: ``[N, D]``, gradients g where the rows are now.
            rows: bool ``[N]``: rows to store the pair of, if its curvature is positive.

        Returns:
            ``[N, D]``: -H g; -g where nothing is remembered.
        """
        bend = (step * change).sum(1)
        index = (rows & (bend > 1e-12 * change.square().sum(1)) & (bend > 0)).nonzero()[:, 0]
        # Never one: the product with a single column is rounded otherwise for one row than for many.
        self.used = min(self.size, max(2, self.used + bool(len(index))))
        along, across = self._products(torch.stack([change, slope], dim=1))
        if len(index):
            self._store(index, step[index], change[index], along[:, 0], across[index, 0])
            newest = self._newest(index)
            along[index, 1, newest] = (step * slope).sum(1)[index]
            across[index, 1, newest] = (change * slope).sum(1)[index]
        return self._direction(slope, along[:, 1], across[:, 1])

    def _newest(self, index: Tensor) -> Tensor:
        """Places of the last pairs of some rows."""
        return (self.count[index] - 1) % self.size

    def _products(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Inner products of ``vectors [N, 2, D]`` with all steps and all changes: ``[N, 2, used]`` each."""
        # As rows times a matrix: the column form of this product is more than ten times slower on a CPU.
        along = torch.bmm(vectors, self.steps[:, : self.used].mT)
        across = torch.bmm(vectors, self.changes[:, : self.used].mT)
        return along, across

    def _store(self, index: Tensor, step: Tensor, change: Tensor, along: Tensor, across: Tensor) -> None:
        """Puts a pair into each row of ``index`` in the place of the oldest one.

        Args:
            index: int64 ``[n]``.
            step: ``[n, D]``.
            change: ``[n, D]``.
            along: ``[N, used]``, products of the changes of all rows with their steps before.
            across: ``[n, used]``, products of the change with the changes before.
        """
        place = self.count[index] % self.size
        self.count[index] += 1
        self.steps[index, place], self.changes[index, place] = step, change
        bend = (step * change).sum(1)
        self.curvature[index, place] = bend
        across[torch.arange(len(index), device=index.device), place] = change.square().sum(1)
        used = slice(self.used)
        self.energy[index, place, used], self.energy[index, used, place] = across, across
        full = (self.count[index] > self.size).nonzero()[:, 0]
        if len(full):  # the oldest pair's row and column
            self.inverse[index[full], place[full], used] = 0.0
            self.inverse[index[full], used, place[full]] = 0.0
        # Of all rows, although some store nothing: picking rows would copy their matrices.
        column = torch.bmm(along.unsqueeze(1), self.inverse[:, used, used].mT).squeeze(1)[index]
        self.inverse[index, used, place] = -column / bend.unsqueeze(1)
        self.inverse[index, place, place] = 1 / bend

    def _direction(self, slope: Tensor, along: Tensor, across: Tensor) -> Tensor:
        """-H g from g, S'g and Y'g.

        ``H = c I + [S, c Y] [[R^-T (E + c Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, c Y]'`` with E the diagonal of
        R and c = s'y / y'y of the last pair.
        """
        used, rows = slice(self.used), torch.arange(len(slope), device=slope.device)
        newest = self._newest(rows)
        energy = self.energy[rows, newest, newest].clamp_min(torch.finfo(slope.dtype).tiny)
        scale = torch.where(self.filled(), self.curvature[rows, newest] / energy, 1.0).unsqueeze(1)
        inverse = self.inverse[:, used, used]
        lower = torch.bmm(along.unsqueeze(1), inverse.mT)
        bent = torch.bmm(lower, self.energy[:, used, used]).squeeze(1) - across
        lower = lower.squeeze(1)
        middle = self.curvature[:, used] * lower + scale * bent
        front = torch.bmm(middle.unsqueeze(1), inverse).to(slope.dtype)
        back = (-scale * lower).unsqueeze(1).to(slope.dtype)
        pairs = torch.bmm(front, self.steps[:, used]) + torch.bmm(back, self.changes[:, used])
        return -(scale.to(slope.dtype) * slope + pairs.squeeze(1))
