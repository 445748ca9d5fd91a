"""Regularised maximum likelihood estimation (He, Zhang, Lee, ACSAC 2019)."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from bench.api import IncompatibleError, Reconstruction, SmashedAttack, SmashedObservation
from bench.engine.activations import Features, Prior, features
from bench.engine.minimisers.adam import AMSGrad
from bench.engine.minimisers.search import Chunks, Restarts
from bench.engine.parametrise import starts
from bench.engine.transforms.inputs import InputSpace
from bench.engine.transforms.restoration import Restoration

_AT_ONCE = 128
"""Beyond this, larger batches of images gain nothing on a CPU."""


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
        self.optimiser = AMSGrad(learning_rate=learning_rate, iterations=iterations)
        self.iterations, self.restarts = iterations, restarts
        self.solved, self.agreement = solved, agreement
        self.prior = Prior(start=tv_start, incomplete=tv, nats=tv_nats)
        self.removal = Restoration(method=removal, steps=removal_steps)

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """All images at once, from grey; those that are not explained start again from noise.

        A known transform of the inputs is searched through, and undone afterwards.

        Raises:
            IncompatibleError: the client's weights are not known, or images are needed and there are none.
        """
        client = observation.client
        if client is None:
            raise IncompatibleError("rmle differentiates the client's half, whose weights it does not know")
        space = InputSpace.of(observation, budget=budget, seed=seed, removal=self.removal)
        length = max(1, min(space.budget, self.iterations))
        search: Restarts[Features] = Restarts(
            minimiser=Chunks(minimiser=self.optimiser, size=_AT_ONCE),
            enough=self.solved,
            least=length,
            agreement=self.agreement,
        )
        objective = features(observation, client, self.prior)
        found = search.minimise(
            objective,
            _starts(space.observation, min(1 + self.restarts, space.budget // length), objective.seen, seed),
            evaluations=torch.full((len(objective.seen),), space.budget, device=observation.ids.device),
            project=space.nearest,
        )
        shape = (observation.victims, observation.batch_size)
        return Reconstruction(
            images=space.images(found.point.unflatten(0, shape)),
            cost=found.cost.view(shape).mean(1),
            evaluations=found.evaluations.view(shape).amax(1) + space.learning,
        )


def _starts(seen: SmashedObservation, attempts: int, like: Tensor, seed: int) -> Tensor:
    """Inputs ``[N * B, attempts, *S]``: grey for the first attempt, uniform noise for the others."""
    shape, images = seen.image_shape, seen.victims * seen.batch_size
    drawn = [like.new_full((images, *shape), 0.5)]
    for attempt in range(1, attempts):
        normal = starts(seen.ids, seen.batch_size * prod(shape), seed=seed + attempt, like=like)
        drawn.append(torch.special.ndtr(normal).view(images, *shape))
    return torch.stack(drawn, dim=1)
