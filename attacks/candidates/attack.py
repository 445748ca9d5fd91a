"""Candidates: which image of a list made this release? A bound, not a reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import (
    BaseAttack,
    GradientObservation,
    ImageSet,
    IncompatibleError,
    Reconstruction,
    SmashedObservation,
)
from bench.attacks.candidates.activations import activation_costs
from bench.attacks.candidates.gradients import gradient_costs
from bench.engine.imitated import Imitations, imitations

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
        copies = self._imitated(observation, seed)
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

    def _imitated(self, seen: Seen, seed: int) -> Imitations | None:
        """Copies of what clients are known to do to their images; None where nothing is known of it."""
        transform = None if seen.defense is None else seen.defense.transform
        if transform is None:
            return None
        if seen.auxiliary is None:
            raise IncompatibleError("candidates needs auxiliary images to imitate what clients do to theirs")
        device = seen.ids.device
        owned = ImageSet(seen.auxiliary.images.to(device), seen.auxiliary.labels.to(device))
        return imitations(transform, owned, num_classes=seen.num_classes, seed=seed, number=self.imitations)
