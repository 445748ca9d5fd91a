"""Inverting Gradients (Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020)."""

from __future__ import annotations

from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine import (
    Cosine,
    InputSpace,
    Objective,
    Optimum,
    Pixels,
    SignedAdam,
    count_labels,
    informed,
    search,
    single_labels,
    total_variation,
    victims_at_once,
)
from bench.engine.parametrise import starts


class InvertingGradients(Attack):
    """Matches the direction of the gradient, with total variation as prior (Eq. 4), by signed Adam."""

    def __init__(
        self, *, learning_rate: float = 0.1, iterations: int = 240, tv: float = 1e-3, tv_nats: float = 3000.0
    ) -> None:
        """Sets the schedule and the weight of the prior: beside the cosine, or beside a likelihood."""
        self.optimiser = SignedAdam(learning_rate=learning_rate)
        self.iterations = iterations
        self.tv = tv
        self.tv_nats = tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One schedule from N(0, 1) for every victim; labels are inferred from the last layer beforehand."""
        infer = single_labels if observation.batch_size == 1 else count_labels
        labels = infer(observation)
        space = InputSpace.of(observation, budget=budget, seed=seed)
        observation = space.observation
        matching, likelihood = informed(observation, Cosine)
        priors = ((self.tv_nats if likelihood else self.tv, total_variation),)
        iterations = min(space.budget, self.iterations)

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            unknowns = Pixels.of(seen, infer(seen))
            objective = Objective(seen, unknowns, matching, priors)
            start = starts(seen.ids, unknowns.size, seed=seed + restart, like=seen.reference)
            return self.optimiser.minimise(objective, start, iterations=iterations, project=space.project)

        found = search(
            observation,
            attempt,
            budget=iterations,
            failed=lambda cost: cost.isnan(),
            restarts=0,
            chunk=victims_at_once(observation, unknowns=Pixels.of(observation, labels).size),
        )
        images, _ = Pixels.of(observation, labels).decode(found.point)
        return Reconstruction(
            images=space.images(images),
            cost=found.cost,
            evaluations=found.evaluations + space.learning,
            labels=labels,
        )
