"""Candidates: which image of a list made this release? A bound, not a reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import (
    BaseAttack,
    GradientObservation,
    IncompatibleError,
    Reconstruction,
    SmashedObservation,
)
from bench.attacks.candidates.activations import activation_costs
from bench.attacks.candidates.gradients import gradient_costs
from bench.engine.transforms.inputs import imitated

Seen = GradientObservation | SmashedObservation


class Candidates(BaseAttack[Seen]):
    """Releases every image of a list through the public network and names the likeliest one."""

    def __init__(self, *, imitations: int = 3) -> None:
        """Sets how often a known transform is imitated."""
        self.imitations = imitations

    def reconstruct(self, observation: Seen, *, budget: int, seed: int) -> Reconstruction:
        """The image of the list whose own release is most like the observed one, for each victim.

        The budget is no limit: every image of the list is released once for each imitation and, where the
        label cannot be inferred, for each class; so many evaluations are reported.

        Raises:
            IncompatibleError: there is no list, a release has several images, or a transform is known and
                there are no images to imitate it with.
        """
        pool = observation.pool
        if pool is None or not len(pool):
            raise IncompatibleError("a bound chooses from a list of images, and there is none")
        if observation.batch_size != 1:
            raise IncompatibleError("a release of several images has too many combinations to try them all")
        pool = pool.to(observation.ids.device)
        copies = imitated(observation, seed=seed, number=self.imitations)
        labels: Tensor | None = None
        if isinstance(observation, SmashedObservation):
            costs, spent = activation_costs(observation, pool, copies)
        else:
            costs, spent, labels = gradient_costs(observation, pool, copies)
        cost, chosen = costs.nan_to_num(torch.inf, torch.inf, torch.inf).min(1)
        return Reconstruction(
            images=pool[chosen].unsqueeze(1).float(),
            cost=cost,
            evaluations=spent,
            labels=labels,
        )
