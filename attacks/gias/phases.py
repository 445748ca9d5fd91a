"""The two phases: the latents of a generator (Eq. 4), then its weights (Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.engine import (
    GeneratorWeights,
    Latents,
    Objective,
    Optimum,
    Promising,
    WarmAdam,
    total_variation,
)
from bench.engine.minimisers.contract import Project


@dataclass(frozen=True, kw_only=True)
class TwoPhases:
    """The latents, and then the weights of each victim's own generator.

    Attributes:
        first: of the latents.
        share: of the evaluations, for them.
        second: of the weights.
        tv: weight of total variation, while weights are adapted.
        spread: standard deviation that a weight is expected to move by; None: nothing is expected.
    """

    first: Promising
    share: float
    second: WarmAdam
    tv: float
    spread: float | None

    def minimise(
        self, objective: Objective, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """From latents ``[N, B * Z]`` to images ``[N, B * C * H * W]``, which take less room than weights."""
        early = torch.full_like(evaluations, max(1, round(self.share * int(evaluations.min()))))
        drawn = self.first.minimise(objective, start, evaluations=early, project=project)
        latents = objective.parametrisation
        assert isinstance(latents, Latents)
        unknowns = GeneratorWeights(latents.generator, latents.latents(drawn.point), latents.targets)
        learned = unknowns.start(objective.ids, seed=0, like=start)
        adapting = replace(
            objective,
            parametrisation=unknowns,
            priors=((self.tv, total_variation),),
            penalties=()
            if self.spread is None
            else ((0.5 / self.spread**2, lambda point: (point - learned[:1]).square().sum(1)),),
        )
        left = evaluations - drawn.evaluations
        tuned = self.second.minimise(adapting, learned, evaluations=left)
        with torch.no_grad():
            images, _ = unknowns.decode(tuned.point)
        cost = torch.where(left > 0, tuned.cost, drawn.cost)
        return Optimum(images.flatten(1), cost, drawn.evaluations + tuned.evaluations)
