"""The layers of one search: latents (Eq. 5), then the features of each block."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.engine import FeatureSearch, Latents, Objective, Optimum, Promising, total_variation
from bench.engine.minimisers.contract import Project


def size(images: Tensor) -> Tensor:
    """The mean Euclidean norm ``[N]`` of images ``[N, B, C, H, W]``."""
    found: Tensor = images.flatten(2).norm(dim=2).mean(1)
    return found


@dataclass(frozen=True, kw_only=True)
class LayerByLayer:
    """Latents, then features, each layer from what the one before has found.

    Attributes:
        blocks: of the generator.
        latents: how they are searched.
        share: of the evaluations, for them.
        features: how they are.
        tv: weight of the total variation of images, while features are searched.
        norm: weight of their norm.
        spread: standard deviation that a feature is expected to move by; None: nothing is expected.
    """

    blocks: tuple[nn.Module, ...]
    latents: Promising
    share: float
    features: FeatureSearch[Objective]
    tv: float
    norm: float
    spread: float | None

    def minimise(
        self, objective: Objective, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """From latents ``[N, B * Z]`` to images ``[N, B * C * H * W]``."""
        early = torch.full_like(evaluations, max(1, round(self.share * int(evaluations.min()))))
        first = self.latents.minimise(objective, start, evaluations=early, project=project)
        drawn = objective.parametrisation
        assert isinstance(drawn, Latents)

        def costs(decoder: nn.Module, centre: Tensor) -> Objective:
            def moved(point: Tensor) -> Tensor:
                return (point - centre.flatten(1)).square().sum(1)

            return replace(
                objective,
                parametrisation=Latents(decoder, centre.shape[2], drawn.targets),
                priors=((self.tv, total_variation), (self.norm, size)),
                penalties=() if self.spread is None else ((0.5 / self.spread**2, moved),),
            )

        found = self.features.minimise(
            costs,
            self.blocks,
            replace(first, point=drawn.latents(first.point)),
            evaluations=evaluations - first.evaluations,
        )
        return replace(found, point=found.point.flatten(1), evaluations=first.evaluations + found.evaluations)
