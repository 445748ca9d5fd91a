"""Inverting Gradients (Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Attack, GradientObservation, IncompatibleError, Reconstruction
from bench.engine import (
    BatchNormStatistics,
    Cosine,
    InputSpace,
    Objective,
    Optimum,
    Pixels,
    SignedAdam,
    adaptive_loss,
    assumed,
    chunk_size,
    pixel_targets,
    private_labels,
    search,
    total_variation,
)
from bench.engine.minimisers.adam import Fading
from bench.engine.parametrise import starts
from bench.engine.priors import colour_variation


class InvertingGradients(Attack):
    """Matches the direction of the gradient, with total variation as prior (Eq. 4), by signed Adam."""

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        decay: str = "cosine",
        iterations: int = 240,
        tv_grey: float = 0.03,
        tv_colour: float = 0.05,
        tv_end: float = 1e-3,
        tv_power_grey: float = 2.0,
        tv_power_colour: float = 1.0,
        tv_nats: float = 3000.0,
        errors: str = "read",
        statistics: float = 0.0,
    ) -> None:
        """Sets the schedule and the weights of the priors: beside the cosine, or beside a likelihood."""
        self.learning_rate, self.decay = learning_rate, decay
        self.iterations = iterations
        self.tv_grey, self.tv_colour, self.tv_end = tv_grey, tv_colour, tv_end
        self.tv_power_grey, self.tv_power_colour = tv_power_grey, tv_power_colour
        self.tv_nats = tv_nats
        self.errors = errors
        self.statistics = statistics

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One schedule from N(0, 1) for every victim; labels are given, or inferred from the last layer.

        Labels that the last layer does not tell are reported as unknown; the search assumes likely ones.

        Raises:
            IncompatibleError: BatchNorm statistics are to be matched, and there are none, or no cosine.
        """
        labels = private_labels(observation)
        space = InputSpace.of(observation, budget=budget, seed=seed)
        matching, likelihood = adaptive_loss(observation, Cosine)
        weight = self.tv_nats if likelihood else self.tv_end
        rough = total_variation if likelihood else colour_variation
        priors = ((weight, rough),)
        fading = None if likelihood else self._fading(observation, space.observation)
        power = self.tv_power_grey if observation.image_shape[0] == 1 else self.tv_power_colour
        observation = space.observation
        if self.statistics and (likelihood or observation.statistics is None):
            why = "are weighed against a cosine" if likelihood else "are not known of this release"
            raise IncompatibleError(f"BatchNorm statistics {why}")
        iterations = min(space.budget, self.iterations)
        decay = "steps" if likelihood else self.decay
        optimiser = SignedAdam(learning_rate=self.learning_rate, decay=decay, power=power)

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            classes = assumed(seen, private_labels(seen))
            unknowns = Pixels.told(seen, pixel_targets(seen, classes, errors=self.errors))
            known = ((self.statistics, BatchNormStatistics(seen)),) if self.statistics else ()
            objective = Objective(seen, unknowns, matching, priors + known)
            start = starts(seen.ids, unknowns.size, seed=seed + restart, like=seen.reference)
            return optimiser.minimise(
                objective, start, iterations=iterations, project=space.project, fading=fading
            )

        whole = Pixels.of(observation, assumed(observation, labels))
        found = search(
            observation,
            attempt,
            budget=iterations,
            failed=lambda cost: cost.isnan(),
            restarts=0,
            chunk=chunk_size(observation, unknowns=whole.size),
        )
        images, _ = whole.decode(found.point)
        return Reconstruction(
            images=space.images(images),
            cost=found.cost - weight * rough(images),
            evaluations=found.evaluations + space.learning,
            labels=labels,
        )

    def _fading(self, seen: GradientObservation, searched: GradientObservation) -> Fading:
        """Total variation that fades: digits want little of it, photographs much.

        Which of them the images are is what every attacker sees: grey images have one channel.
        """
        weight = self.tv_grey if seen.image_shape[0] == 1 else self.tv_colour
        shape = (searched.batch_size, *searched.image_shape)

        def gradient(point: Tensor, share: float) -> Tensor:
            leaf = point.detach().requires_grad_()
            with torch.enable_grad():
                (each,) = torch.autograd.grad(colour_variation(leaf.unflatten(1, shape)).sum(), leaf)
            return weight * share * each

        return gradient
