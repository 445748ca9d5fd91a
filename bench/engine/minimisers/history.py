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
        along: ``[N, m]``: S'g with the gradient g of the last turn.
        across: ``[N, m]``: Y'g.
        count: int64 ``[N]``, pairs ever stored since the last time the row forgot.
        used: no row has filled more places of its ring; what lies behind is not read.
    """

    steps: Tensor
    changes: Tensor
    inverse: Tensor
    energy: Tensor
    curvature: Tensor
    along: Tensor
    across: Tensor
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
            along=like.new_zeros(rows, size),
            across=like.new_zeros(rows, size),
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
        for part in self._parts():
            part[moved, used] = part[rows[moved], used]
        self.count[moved] = self.count[rows[moved]]
        left = slice(len(rows))
        return type(self)(
            steps=self.steps[left],
            changes=self.changes[left],
            inverse=self.inverse[left],
            energy=self.energy[left],
            curvature=self.curvature[left],
            along=self.along[left],
            across=self.across[left],
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
            for part in (*self._parts(), self.count):
                part[index] = 0

    def _parts(self) -> tuple[Tensor, ...]:
        """What is ``[N, m, ...]``."""
        pairs = (self.steps, self.changes, self.inverse, self.energy, self.curvature)
        return *pairs, self.along, self.across

    def turn(self, step: Tensor, change: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """Stores a pair in some rows and gives every row its quasi-Newton direction.

        Most of the time goes into reading the pairs. The products with the gradient serve ``change`` as well:
        it is the difference of two gradients, and so are its products.

        Args:
            step: ``[N, D]``.
            change: ``[N, D]``: in ``rows``, ``gradient`` less that of the turn before.
            gradient: ``[N, D]``, g where the rows are now.
            rows: bool ``[N]``: rows to store the pair of, if its curvature is positive.

        Returns:
            ``[N, D]``: -H g; -g where nothing is remembered.
        """
        bend = (step * change).sum(1)
        index = (rows & (bend > 1e-12 * change.square().sum(1)) & (bend > 0)).nonzero()[:, 0]
        # Never one: the product with a single row is rounded otherwise for one victim than for many.
        self.used = min(self.size, max(2, self.used + bool(len(index))))
        used = slice(self.used)
        along, across = _products(self.steps[:, used], gradient), _products(self.changes[:, used], gradient)
        if len(index):
            before = along - self.along[:, used], (across - self.across[:, used])[index]
            self._store(index, step[index], change[index], *before)
            newest = self._newest(index)
            along[index, newest] = (step * gradient).sum(1)[index]
            across[index, newest] = (change * gradient).sum(1)[index]
        self.along[:, used], self.across[:, used] = along, across
        return self._direction(gradient, along, across)

    def _newest(self, index: Tensor) -> Tensor:
        """Places of the last pairs of some rows."""
        return (self.count[index] - 1) % self.size

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
        column = _products(self.inverse[:, used, used], along)[index]
        self.inverse[index, used, place] = -column / bend.unsqueeze(1)
        self.inverse[index, place, place] = 1 / bend

    def _direction(self, gradient: Tensor, along: Tensor, across: Tensor) -> Tensor:
        """-H g from g, S'g and Y'g.

        ``H = c I + [S, c Y] [[R^-T (E + c Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, c Y]'`` with E the diagonal of
        R and c = s'y / y'y of the last pair.
        """
        used, rows = slice(self.used), torch.arange(len(gradient), device=gradient.device)
        newest = self._newest(rows)
        energy = self.energy[rows, newest, newest].clamp_min(torch.finfo(gradient.dtype).tiny)
        scale = torch.where(self.filled(), self.curvature[rows, newest] / energy, 1.0).unsqueeze(1)
        inverse = self.inverse[:, used, used]
        lower = _products(inverse, along)
        bent = _products(self.energy[:, used, used], lower) - across
        middle = self.curvature[:, used] * lower + scale * bent
        front = torch.bmm(middle.unsqueeze(1), inverse)
        back = (-scale * lower).unsqueeze(1)
        pairs = torch.bmm(front, self.steps[:, used]) + torch.bmm(back, self.changes[:, used])
        return -(scale * gradient + pairs.squeeze(1))


def _products(rows: Tensor, vector: Tensor) -> Tensor:
    """Inner products of ``rows [N, used, D]`` with one ``vector [N, D]`` of each victim: ``[N, used]``."""
    if len(vector) == 1:  # A batch of one takes another path, whose sums are rounded otherwise.
        return _products(rows.expand(2, -1, -1), vector.expand(2, -1))[:1]
    # The same column without strides of a transposed row takes three times as long on a CPU.
    return torch.bmm(rows, vector.unsqueeze(1).mT).squeeze(2)
