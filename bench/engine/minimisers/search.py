"""Minimisers around a minimiser: chunks of rows, restarts, and many starts of which few are followed.

They serve every objective, of gradients as of activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from bench.engine.memory import in_parts
from bench.engine.minimisers.contract import BatchedObjective, Minimiser, Optimum, Project
from bench.engine.parametrise import starts

RowsT = TypeVar("RowsT", bound=BatchedObjective)


@dataclass(frozen=True, kw_only=True)
class Chunks(Generic[RowsT]):
    """So many rows at a time as fit into one graph.

    Attributes:
        minimiser: of each chunk.
        size: its rows.
    """

    minimiser: Minimiser[RowsT]
    size: int

    def minimise(
        self, objective: RowsT, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """See :class:`~bench.engine.minimisers.contract.Minimiser`."""
        parts = [
            self.minimiser.minimise(
                objective.select(rows), start[rows], evaluations=evaluations[rows], project=project
            )
            for rows in torch.arange(len(start), device=start.device).split(self.size)
        ]
        return Optimum.joined(parts)


@dataclass(frozen=True, kw_only=True)
class Restarts(Generic[RowsT]):
    """Further attempts of the rows that failed, by what the attacker sees, inside one budget per row.

    Attributes:
        minimiser: of every attempt.
        enough: a cost above which an attempt failed, as it did if it is not finite.
        least: evaluations that are worth another attempt.
        agreement: a row whose new attempt ends within this share of its lowest cost has been there before:
            what remains is noise, which no attempt explains. None: it never counts.
    """

    minimiser: Minimiser[RowsT]
    enough: float
    least: int = 1
    agreement: float | None = None

    def minimise(
        self, objective: RowsT, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """Each row's attempt of lowest cost, with the evaluations of all its attempts.

        Args:
            objective: of N rows.
            start: ``[N, R, ...]``: of the first attempt and R - 1 further ones.
            evaluations: int64 ``[N]``, of all attempts together.
            project: as in the contract.
        """
        best = self.minimiser.minimise(
            objective, start[:, 0].contiguous(), evaluations=evaluations, project=project
        )
        point, cost, spent = best.point.clone(), best.cost.clone(), best.evaluations.clone()
        again = self._failed(cost)
        for number in range(1, start.shape[1]):
            rows = (again & (evaluations - spent >= self.least)).nonzero()[:, 0]
            if not len(rows):
                break
            found = self.minimiser.minimise(
                objective.select(rows).attempt(number),
                start[rows, number],
                evaluations=(evaluations - spent)[rows],
                project=project,
            )
            spent[rows] += found.evaluations
            before = cost[rows]
            better = found.cost < before.nan_to_num(torch.inf)
            point[rows[better]], cost[rows[better]] = found.point[better], found.cost[better]
            again[rows] = self._failed(cost[rows])
            if self.agreement is not None:
                again[rows] &= ~((found.cost - before).abs() <= self.agreement * before.abs())
        return Optimum(point, cost, spent)

    def _failed(self, cost: Tensor) -> Tensor:
        return (cost > self.enough) | ~cost.isfinite()


class Sampled(BatchedObjective, Protocol):
    """An objective whose rows have random streams of their own, and perhaps a guide."""

    @property
    def ids(self) -> Tensor:
        """Int64 ``[N]``: a row's numbers are drawn by it, whatever its neighbours are."""

    @property
    def guiding(self) -> Self | None:
        """A cost of the same unknowns with fewer local minima, for the first half of the iterations."""

    def costs(self, point: Tensor, /) -> Tensor:
        """Costs ``[N]`` of points ``[N, D]``, differentiable."""


@dataclass(frozen=True, kw_only=True)
class Promising:
    """Random points, the most promising of which are followed: a latent's cost has many local minima.

    Attributes:
        minimiser: of the points that are followed.
        candidates: random points that are costed; at most a fifth of the evaluations.
        followed: how many of them are minimised, with equal shares of what is left.
        seed: with the objective's number of a row, the only source of the row's randomness.
        rows: points in one graph.
    """

    minimiser: Minimiser[Sampled]
    candidates: int
    followed: int
    seed: int
    rows: int

    def minimise(
        self, objective: Sampled, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """The best of what the search comes across.

        Args:
            objective: of N rows.
            start: ``[N, D]``: the mean of the candidates, whose standard deviation is 1.
            evaluations: as in the contract.
            project: as in the contract.
        """
        whole = int(evaluations.min())
        followed = max(1, min(self.followed, whole // 10))
        candidates = min(self.candidates, whole // 5)
        costed = candidates if candidates > followed else 0
        each = torch.full_like(evaluations, (whole - costed) // followed).repeat_interleave(followed)
        points = self.promising(objective.guiding or objective, start, candidates, followed).flatten(0, 1)
        rows = torch.arange(len(start), device=start.device)
        several = objective.select(rows.repeat_interleave(followed))
        search = Chunks(minimiser=self.minimiser, size=self.rows)
        spent = torch.zeros_like(each)
        if (guide := several.guiding) and each.min() > 1:
            early = search.minimise(guide, points, evaluations=each // 2, project=project)
            points, spent = early.point, early.evaluations
        found = search.minimise(several, points, evaluations=each - spent, project=project)
        cost = found.cost.view(-1, followed)
        place = cost.argmin(dim=1)
        total = costed + (spent + found.evaluations).view(-1, followed).sum(1)
        return Optimum(found.point.unflatten(0, cost.shape)[rows, place], cost[rows, place], total)

    def promising(self, objective: Sampled, start: Tensor, candidates: int, keep: int) -> Tensor:
        """The ``keep`` cheapest of each row's random points, ``[N, keep, D]``, cheapest first.

        With no more candidates than are kept nothing is costed.
        """
        several, size = max(keep, candidates), start.shape[1]
        drawn = starts(objective.ids, several * size, seed=self.seed, like=start)
        points = start.unsqueeze(1) + drawn.view(-1, several, size)
        if several == keep:
            return points
        cost = costs_of_many(objective, points, rows=self.rows).nan_to_num(torch.inf)
        cheapest = cost.topk(keep, dim=1, largest=False).indices
        return points.gather(1, cheapest.unsqueeze(2).expand(-1, -1, size))


@torch.no_grad()
def costs_of_many(objective: Sampled, points: Tensor, *, rows: int) -> Tensor:
    """The costs ``[N, P]`` of points ``[N, P, D]``, so many ``rows`` in one graph, without gradients."""
    each = torch.arange(len(points), device=points.device).repeat_interleave(points.shape[1])
    costs = in_parts(
        lambda part, own: objective.select(part).costs(own), each, points.flatten(0, 1), size=rows
    )
    return costs.view(points.shape[:2])
