"""Pixels and label logits in one search, until the labels are settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.api import GradientObservation
from bench.engine import LBFGS, Objective, Optimum, Pixels, pixel_targets
from bench.engine.minimisers.contract import Project


def hard(seen: GradientObservation, labels: Tensor, errors: str) -> Pixels:
    """The unknowns where labels ``[N, B]`` are known."""
    return Pixels.told(seen, pixel_targets(seen, labels, errors=errors))


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Pixels and labels together, and from some cost on pixels alone, with the likeliest labels as hard ones.

    A softmax approaches a hard label ever more slowly, and would take as many evaluations again.

    Attributes:
        pixels: minimises both.
        settled: the cost.
        errors: what is told about the outputs, see :func:`~bench.engine.labels.pixel_targets`.
    """

    pixels: LBFGS
    settled: float
    errors: str

    def minimise(
        self, objective: Objective, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """See :class:`~bench.engine.minimisers.contract.Minimiser`."""
        stopping = self.pixels.stopping
        until = replace(stopping, target=max(stopping.target, self.settled))
        first = replace(self.pixels, stopping=until)
        found = first.minimise(objective, start, evaluations=evaluations, project=project)
        rows = ((found.cost <= self.settled) & (found.evaluations < evaluations)).nonzero()[:, 0]
        if not len(rows):
            return found
        part, point, spent = objective.select(rows), found.point[rows], found.evaluations[rows]
        images, labels = part.parametrisation.decode(point)
        alone = replace(part, parametrisation=hard(part.observation, labels.argmax(-1), self.errors))
        # The memory of curvature starts anew, so that its progress is looked at more patiently.
        patient = replace(self.pixels, stopping=replace(stopping, patience=2 * stopping.patience))
        more = patient.minimise(
            alone, images.flatten(1), evaluations=evaluations[rows] - spent, project=project
        )
        better = more.cost < found.cost[rows]
        whole = torch.cat([more.point, point[:, more.point.shape[1] :]], dim=1)
        found.point[rows] = torch.where(better.unsqueeze(1), whole, point)
        found.cost[rows] = torch.where(better, more.cost, found.cost[rows])
        found.evaluations[rows] = spent + more.evaluations
        return found
