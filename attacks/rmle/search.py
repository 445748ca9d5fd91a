"""Restarts of the images whose activations no attempt has explained yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engine.activations import Features
from bench.engine.minimisers.adam import AMSGrad
from bench.engine.minimisers.optimum import Optimum

_AT_ONCE = 128
"""Beyond this, larger batches of images gain nothing on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Restarts:
    """When to try again, and from where.

    Attributes:
        optimiser: of every attempt.
        iterations: of every attempt.
        most: attempts beside the first one.
        solved: a cost below which an image is found.
        agreement: an image whose new attempt ends within this share of its lowest cost has been there before:
            what remains is noise, which no attempt explains.
    """

    optimiser: AMSGrad
    iterations: int
    most: int
    solved: float
    agreement: float

    def minimise(
        self,
        objective: Features,
        start: Callable[[int], Tensor],
        *,
        project: Callable[[Tensor], Tensor],
        budget: int,
    ) -> Optimum:
        """Attempts every image, and again those that are not settled, while budget is left for an attempt.

        Args:
            objective: of M images.
            start: number of the attempt -> ``[M, *S]``.
            project: applied to inputs after each step.
            budget: evaluations per image.

        Returns:
            Each image's attempt of lowest cost, ``[M, *S]``, with the evaluations of all its attempts.
        """
        length = min(budget, self.iterations)
        best = self._attempt(objective, start(0), project, length)
        settled = best.cost <= self.solved
        for attempt in range(1, min(self.most, budget // max(1, length) - 1) + 1):
            rows = (~settled).nonzero()[:, 0]
            if not len(rows):
                break
            again = self._attempt(objective.select(rows), start(attempt)[rows], project, length)
            before = best.cost[rows]
            same = (again.cost - before).abs() <= self.agreement * before.abs()
            best.evaluations[rows] += again.evaluations
            better = again.cost < before.nan_to_num(torch.inf)
            best.point[rows[better]], best.cost[rows[better]] = again.point[better], again.cost[better]
            settled[rows] = same | (best.cost[rows] <= self.solved)
        return best

    def _attempt(
        self, objective: Features, start: Tensor, project: Callable[[Tensor], Tensor], length: int
    ) -> Optimum:
        parts = [
            self.optimiser.minimise(objective.select(rows), start[rows], iterations=length, project=project)
            for rows in torch.arange(len(start), device=start.device).split(_AT_ONCE)
        ]
        return Optimum(
            torch.cat([part.point for part in parts]),
            torch.cat([part.cost for part in parts]),
            torch.cat([part.evaluations for part in parts]),
        )
