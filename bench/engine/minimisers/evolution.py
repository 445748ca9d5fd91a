"""Covariance matrix adaptation for many rows at once: a search that needs costs, not gradients.

One strategy per row, by the library ``cma``; the candidates of all rows are costed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.engine.minimisers.contract import Optimum, Project
from bench.engine.minimisers.search import Sampled, costs_of_many


@dataclass(frozen=True, kw_only=True)
class EvolutionStrategy:
    """CMA-ES (Hansen and Ostermeier 2001), as Li et al. 2022 search latents.

    Attributes:
        population: candidates per generation.
        step: standard deviation of the first generation.
        seed: with the objective's number of a row, the only source of the row's randomness.
        rows: candidates in one graph.
    """

    population: int = 20
    step: float = 0.5
    seed: int
    rows: int

    def minimise(
        self, objective: Sampled, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """Lets every row's candidates evolve from a mean ``[N, D]``; what is not finite counts as worst.

        Evaluations are spent in whole generations, the last of which may be smaller.
        """
        strategies = [
            self._strategy(mean, number)
            for mean, number in zip(start.cpu().numpy(), objective.ids.tolist(), strict=True)
        ]
        best, best_cost = start, start.new_full(start.shape[:1], torch.inf)
        rows, left = torch.arange(len(start), device=start.device), int(evaluations.min())
        spent = torch.full_like(evaluations, left)
        while left > 0:
            asked = min(self.population, left)
            left -= asked
            drawn = [strategy.ask() for strategy in strategies]
            points = torch.as_tensor(numpy.array(drawn)).to(start)[:, :asked]
            points = project(points) if project else points
            cost = costs_of_many(objective, points, rows=self.rows)
            cost = cost.nan_to_num(torch.inf, torch.inf, torch.inf)
            lowest, place = cost.min(dim=1)
            better = lowest < best_cost
            best = torch.where(better.unsqueeze(1), points[rows, place], best)
            best_cost = torch.where(better, lowest, best_cost)
            if asked == self.population:  # a smaller generation is the last: nothing is to be learned from it
                for strategy, own, value in zip(strategies, drawn, _ranked(cost), strict=True):
                    strategy.tell(own, value)
        return Optimum(best, best_cost, spent)

    def _strategy(self, mean: NDArray[Any], number: int) -> Any:
        from cma import CMAEvolutionStrategy  # late: half a second that other attacks need not pay

        drawn = numpy.random.Generator(numpy.random.PCG64([self.seed, number]))
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
