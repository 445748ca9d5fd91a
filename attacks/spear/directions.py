"""Directions q for which ``U q`` is a column of dL/dZ, found by their zeros."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.spear.factors import Factors

BASES = 3
"""That are kept of all directions drawn."""
SAME = 0.99
"""Cosine from which two directions are one."""
NEW = 1e-2
"""Part of a direction outside the span of others that makes it independent of them."""
GROWTH = (30.0, 5.0, 1.0)
"""By how much the noise may have grown in a direction, before it is made precise and while it is."""
SMALL = 1e-3
"""Part of the mean entry that is zero in any case where noise may have grown."""
RAREST = 0.3
"""The smallest share of the rows that a draw is restricted to."""


@dataclass(frozen=True)
class Candidates:
    """Draws directions and keeps the sparsest different ones.

    Attributes:
        factors: of the release.
        tolerance: what counts as zero, in standard deviations of the noise.
        rows: of U, ``[live, b]``: of units that any image activates, those first that few are said to.
        rare: whether draws prefer the first rows.
    """

    factors: Factors
    tolerance: float
    rows: Tensor
    rare: bool

    @classmethod
    def of(cls, factors: Factors, tolerance: float, *, activation: Tensor, rare: bool) -> Candidates:
        """Sorts rows by ``activation [m]``, which is the larger the more images activate a unit."""
        strength = (factors.left * factors.values).norm(dim=1)
        live = (strength > tolerance * factors.rank**0.5).nonzero()[:, 0]
        order = live[activation[live].argsort(stable=True)]
        return cls(factors, tolerance, factors.left[order], rare)

    def zeros(self, directions: Tensor, growth: float = 1.0) -> Tensor:
        """Which entries of ``U q`` are zero, bool ``[..., live]``, where noise in q may have grown."""
        values = (directions @ self.rows.T).abs()
        noise = self.tolerance * self.factors.spread(directions)[..., None]
        return values <= torch.maximum(noise, (growth * noise).minimum(SMALL * values.mean(-1, keepdim=True)))

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Null vectors of (b - 1) x b submatrices, ``[count, b]``.

        A submatrix gives a column where all of its rows are zero in it. Images have much in common, and so
        has what they activate: most rows are zero for few images or for most. A draw is uniform among the
        first rows, of a share that is drawn as well.
        """
        live, size = self.rows.shape
        share = RAREST + (1 - RAREST) * torch.rand(count, 1, generator=generator) if self.rare else 1.0
        index = (torch.rand(count, size - 1, generator=generator) * share * live).long().to(self.rows.device)
        scaled = torch.nn.functional.normalize(self.rows, dim=1)
        further = torch.randn(count, 1, size, generator=generator).to(scaled)
        system = torch.cat([scaled[index], further], dim=1)
        unit = torch.eye(size).to(scaled)[:, -1:].expand(count, -1, -1)
        found = torch.linalg.solve_ex(system, unit).result[..., 0].nan_to_num(0.0, 0.0, 0.0)
        return torch.nn.functional.normalize(found[found.any(dim=1)], dim=1)

    def precise(self, directions: Tensor) -> Tensor:
        """The same, as the null vectors of all rows that are zero."""
        for growth in GROWTH:
            zero = self.zeros(directions, growth).to(self.rows)
            # Never by the product with the transpose, where what tells of weak images would be lost.
            triangle = torch.linalg.qr(self.rows * zero[..., None], mode="r").R
            directions = torch.linalg.svd(triangle).Vh[..., -1, :]
        return directions

    def sparsest(self, directions: Tensor, growth: float = 1.0) -> Tensor:
        """The directions ``[c, b]`` with the most zeros, as a few bases one after the other.

        What two similar images activate differs in few units: any combination of their columns has about as
        many zeros as each, and such a family would crowd out the columns of other images.
        """
        left, kept = (
            directions[self.zeros(directions, growth).sum(1).argsort(descending=True, stable=True)],
            [],
        )
        for _ in range(BASES):
            kept.append(left[greedy(left)])
            left = left[((left @ kept[-1].T).abs() < SAME).all(dim=1)]
        return torch.cat(kept)

    def renewed(self, pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """The pool ``[c, b]`` after so many further draws; it begins with the sparsest basis."""
        fresh = self.sparsest(self.drawn(count, generator), GROWTH[0])
        return self.sparsest(torch.cat([pool, self.precise(fresh)]))


def greedy(candidates: Tensor) -> Tensor:
    """Numbers of the first directions that are independent, at most b."""
    chosen: list[int] = []
    apart = candidates
    while len(chosen) < candidates.shape[1]:
        new = (apart.norm(dim=1) > NEW).nonzero()
        if not len(new):
            break
        chosen.append(int(new[0]))
        unit = torch.nn.functional.normalize(apart[chosen[-1]], dim=0)
        apart = apart - torch.outer(apart @ unit, unit)
    return torch.tensor(chosen, dtype=torch.long, device=candidates.device)
