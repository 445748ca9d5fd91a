"""Covariance matrix adaptation for many victims at once: a search that needs costs, not slopes.

One strategy per victim, by the library ``cma``; the candidates of all victims are costed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.engine.minimisers.optimum import Optimum
from bench.engine.objective import Objective
from bench.engine.parametrise import starts

Costs = Callable[[Tensor], Tensor]
"""``points [N, P, D] -> costs [N, P]``: P candidates of each victim."""


@dataclass(frozen=True, kw_only=True)
class EvolutionStrategy:
    """CMA-ES (Hansen and Ostermeier 2001), as Li et al. 2022 search latents.

    Attributes:
        population: candidates per generation.
        step: standard deviation of the first generation.
    """

    population: int = 20
    step: float = 0.5

    def minimise(
        self, costs: Costs, start: Tensor, *, ids: Iterable[int], seed: int, evaluations: int
    ) -> Optimum:
        """Lets every victim's candidates evolve; victims share nothing.

        Args:
            costs: of all victims' candidates; what is not finite counts as worst.
            start: ``[N, D]``, the means of the first generation.
            ids: one number per victim; its candidates are drawn by (seed, number).
            seed: the only source of randomness.
            evaluations: per victim; spent in whole generations, the last of which may be smaller.

        Returns:
            Each victim's best candidate; the start, at infinite cost, if there was no finite one.
        """
        strategies = [
            self._strategy(mean, number, seed) for mean, number in zip(start.cpu().numpy(), ids, strict=True)
        ]
        best, best_cost = start, start.new_full(start.shape[:1], torch.inf)
        spent = 0
        while spent < evaluations:
            asked = min(self.population, evaluations - spent)
            drawn = [strategy.ask() for strategy in strategies]
            points = torch.as_tensor(numpy.array(drawn)).to(start)[:, :asked]
            cost = costs(points).nan_to_num(torch.inf, torch.inf, torch.inf)
            spent += asked
            lowest, place = cost.min(dim=1)
            better = lowest < best_cost
            best = torch.where(
                better.unsqueeze(1), points[torch.arange(len(points), device=points.device), place], best
            )
            best_cost = torch.where(better, lowest, best_cost)
            if asked == self.population:  # a smaller generation is the last: nothing is to be learned from it
                for strategy, own, value in zip(strategies, drawn, _ranked(cost), strict=True):
                    strategy.tell(own, value)
        return Optimum(best, best_cost, torch.full_like(best_cost, spent, dtype=torch.long))

    def _strategy(self, mean: NDArray[Any], number: int, seed: int) -> Any:
        from cma import CMAEvolutionStrategy  # late: half a second that other attacks need not pay

        drawn = numpy.random.Generator(numpy.random.PCG64([seed, number]))
        options = {
            "popsize": self.population,
            "randn": lambda *shape: drawn.standard_normal(shape),  # the default is numpy's global state
            "verbose": -9,
        }
        return CMAEvolutionStrategy(mean.astype(float), self.step, options)


def _ranked(cost: Tensor) -> NDArray[Any]:
    """Costs ``[N, P]`` as the strategy needs them: it only ranks, and an infinite one would upset it."""
    order: NDArray[Any] = cost.argsort(dim=1).argsort(dim=1).double().cpu().numpy()
    return order


@torch.no_grad()
def costs_of_many(objective: Objective, points: Tensor, *, rows: int) -> Tensor:
    """The cost of several points of each victim, without their slopes.

    Args:
        objective: of N victims.
        points: ``[N, P, D]``.
        rows: points in one graph.

    Returns:
        ``[N, P]``.
    """
    victims = torch.arange(len(points), device=points.device).repeat_interleave(points.shape[1])
    parts = zip(victims.split(rows), points.flatten(0, 1).split(rows), strict=True)
    return torch.cat([objective.select(part).costs(own)[1] for part, own in parts]).view(points.shape[:2])


def promising(
    objective: Objective, ids: Tensor, *, candidates: int, keep: int, seed: int, rows: int
) -> Tensor:
    """The ``keep`` cheapest of each victim's random latents, ``[N, keep, D]``, cheapest first.

    With no more candidates than are kept nothing is costed.
    """
    size, like = objective.parametrisation.size, next(iter(objective.observation.gradients.values()))
    several = max(keep, candidates)
    points = starts(ids, several * size, seed=seed, like=like).view(len(ids), several, size)
    if several == keep:
        return points
    cost = costs_of_many(objective, points, rows=rows).nan_to_num(torch.inf)
    cheapest = cost.topk(keep, dim=1, largest=False).indices
    return points.gather(1, cheapest.unsqueeze(2).expand(-1, -1, size))
