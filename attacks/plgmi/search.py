"""Step 2 of PLG-MI: latents of a conditional generator by the max-margin loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.api import ModelObservation, Reconstruction
from bench.attacks.plgmi.conditional import Conditional
from bench.attacks.ppa.views import Views
from bench.engine import Descent, in_parts, start_latents

Classify = Callable[[Tensor], Tensor]
"""``images [M, C, H, W] -> scores [M, K]``, or ``[M, S, K]`` of S classifiers; differentiable."""


def max_margin(scores: Tensor, labels: Tensor) -> Tensor:
    """How far the target's score is below the best other one, ``[M]``: unlike cross-entropy it never fades.

    Args:
        scores: ``[M, K]``, or ``[M, S, K]`` of several classifiers, whose mean margin counts.
        labels: int64 ``[M]``.
    """
    places = labels.view(-1, *[1] * (scores.dim() - 1)).expand(*scores.shape[:-1], 1)
    own = scores.gather(-1, places)[..., 0]
    others = scores.scatter(-1, places, -torch.inf).amax(-1)
    margin: Tensor = (others - own).view(len(labels), -1).mean(1)
    return margin


@dataclass(frozen=True, kw_only=True)
class Search:
    """Adam on the margin of one random view in each step.

    Attributes:
        learning_rate: of Adam.
        views: the random views.
    """

    learning_rate: float
    views: Views

    def run(
        self,
        observation: ModelObservation,
        decoder: Conditional,
        classify: Classify,
        *,
        iterations: int,
        spent: int,
        seed: int,
    ) -> Reconstruction:
        """One search for each image, from a start of its own.

        Args:
            observation: says which classes, and how many images.
            decoder: what draws images of a class; its weights want no gradient.
            classify: whose margin counts, of the victim or of what stands for it.
            iterations: of each search.
            spent: evaluations of each image before it.
            seed: of starts and views.
        """
        begin = start_latents(observation, seed=seed)
        rows = observation.targets[:, None].expand(begin.shape[:2])
        views = self.views.draw(iterations, seed=seed)

        def searched(latents: Tensor, wanted: Tensor) -> Tensor:
            view = iter(views)

            def cost(point: Tensor) -> Tensor:
                return max_margin(classify(self.views.see(decoder(point, wanted), next(view))), wanted)

            steps = torch.full_like(wanted, iterations)
            adam = partial(torch.optim.Adam, lr=self.learning_rate)
            return Descent(adam).minimise(cost, latents, evaluations=steps).point

        found = in_parts(searched, begin.flatten(0, 1), rows.flatten())
        with torch.no_grad():
            images = in_parts(decoder, found, rows.flatten())
            costs = in_parts(lambda some, wanted: max_margin(classify(some), wanted), images, rows.flatten())
        return Reconstruction(
            images=images.unflatten(0, rows.shape),
            cost=costs.view(rows.shape).mean(1),
            evaluations=torch.full_like(observation.targets, spent + iterations),
            labels=rows.clone(),
        )
