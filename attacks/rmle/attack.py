"""Regularised maximum likelihood estimation (He, Zhang, Lee, ACSAC 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from bench.api import (
    ImageSet,
    IncompatibleError,
    InputTransform,
    Reconstruction,
    SmashedAttack,
    SmashedObservation,
)
from bench.attacks.rmle.search import Restarts
from bench.engine.activations import Prior, features
from bench.engine.minimisers.adam import AMSGrad
from bench.engine.minimisers.optimum import Optimum
from bench.engine.parametrise import starts
from bench.engine.transforms.restoration import Restoration

Shape = tuple[int, int, int]
_LEARNING = 0.4
"""The largest share of the budget that goes into learning to undo a transform."""


class RMLE(SmashedAttack):
    """Finds inputs of the client's half whose activations are the observed ones: the white-box attack."""

    def __init__(
        self,
        *,
        learning_rate: float = 1.0,
        iterations: int = 125,
        restarts: int = 7,
        solved: float = 1e-5,
        agreement: float = 2e-3,
        tv: float = 0.03,
        tv_start: float = 0.1,
        tv_nats: float = 2000.0,
        removal: str = "learned",
        removal_steps: int = 400,
    ) -> None:
        """Sets the schedule, the weights of the prior, and how a known transform of the inputs is undone."""
        self.restarts = Restarts(
            optimiser=AMSGrad(learning_rate=learning_rate),
            iterations=iterations,
            most=restarts,
            solved=solved,
            agreement=agreement,
        )
        self.prior = Prior(start=tv_start, incomplete=tv, nats=tv_nats)
        self.removal = Restoration(method=removal, steps=removal_steps)

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """All images at once, from grey; those that are not explained start again from noise.

        Raises:
            IncompatibleError: the client's weights are not known, or images are needed and there are none.
        """
        client = observation.client
        if client is None:
            raise IncompatibleError("rmle differentiates the client's half, whose weights it does not know")
        transform = None if observation.defense is None else observation.defense.transform
        if transform is None:
            found = self._search(observation, client, observation.image_shape, _box, budget, seed)
            return _reconstruction(found, found.point, observation, 0)
        if observation.auxiliary is None:
            raise IncompatibleError("rmle needs auxiliary images to undo what clients do to theirs")
        steps = min(self.removal.training_steps, int(_LEARNING * budget))
        shape = transform.shape(observation.image_shape)
        found = self._search(observation, client, shape, transform.project, budget - steps, seed)
        images = self._restored(found.point, observation, observation.auxiliary, transform, steps, seed)
        return _reconstruction(found, images, observation, steps)

    def _restored(
        self,
        carriers: Tensor,
        seen: SmashedObservation,
        owned: ImageSet,
        transform: InputTransform,
        steps: int,
        seed: int,
    ) -> Tensor:
        """The images ``[M, C, H, W]`` that clients made the carriers ``[M, *S]`` of."""
        auxiliary = ImageSet(owned.images.to(carriers.device), owned.labels.to(carriers.device))
        imitation = transform.learn(auxiliary, num_classes=seen.num_classes, seed=seed)
        return replace(self.removal, steps=steps)(carriers[:, None], imitation, auxiliary, seed=seed)[:, 0]

    def _search(
        self,
        seen: SmashedObservation,
        client: nn.Module,
        shape: Shape,
        project: Callable[[Tensor], Tensor],
        budget: int,
        seed: int,
    ) -> Optimum:
        """Inputs ``[N * B, *shape]`` that explain the activations; each image has its own restarts."""
        objective = features(seen, client, self.prior)
        grey = objective.seen.new_full((len(objective.seen), *shape), 0.5)

        def start(attempt: int) -> Tensor:
            if attempt == 0:
                return grey
            normal = starts(seen.ids, seen.batch_size * prod(shape), seed=seed + attempt, like=grey)
            uniform: Tensor = torch.special.ndtr(normal).view_as(grey)
            return uniform

        return self.restarts.minimise(objective, start, project=project, budget=budget)


def _box(images: Tensor) -> Tensor:
    return images.clamp(0, 1)


def _reconstruction(
    found: Optimum, images: Tensor, seen: SmashedObservation, learning: int
) -> Reconstruction:
    """Images ``[M, C, H, W]`` by release, with the mean of their costs and the most evaluations."""
    shape = (seen.victims, seen.batch_size)
    return Reconstruction(
        images=images.unflatten(0, shape),
        cost=found.cost.view(shape).mean(1),
        evaluations=found.evaluations.view(shape).amax(1) + learning,
    )
