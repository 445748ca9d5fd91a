"""Inverting Gradients (Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020)."""

from __future__ import annotations

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
    count_labels,
    informed,
    known_targets,
    search,
    single_labels,
    total_variation,
    victims_at_once,
)
from bench.engine.parametrise import starts


class InvertingGradients(Attack):
    """Matches the direction of the gradient, with total variation as prior (Eq. 4), by signed Adam."""

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        iterations: int = 240,
        tv: float = 1e-3,
        tv_nats: float = 3000.0,
        errors: str = "read",
        statistics: float = 0.0,
    ) -> None:
        """Sets the schedule and the weights of the priors: beside the cosine, or beside a likelihood."""
        self.optimiser = SignedAdam(learning_rate=learning_rate)
        self.iterations = iterations
        self.tv = tv
        self.tv_nats = tv_nats
        self.errors = errors
        self.statistics = statistics

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One schedule from N(0, 1) for every victim; labels are inferred from the last layer beforehand.

        Raises:
            IncompatibleError: BatchNorm statistics are to be matched, and there are none, or no cosine.
        """
        infer = single_labels if observation.batch_size == 1 else count_labels
        labels = infer(observation)
        space = InputSpace.of(observation, budget=budget, seed=seed)
        observation = space.observation
        matching, likelihood = informed(observation, Cosine)
        priors = ((self.tv_nats if likelihood else self.tv, total_variation),)
        if self.statistics and (likelihood or observation.statistics is None):
            why = "are weighed against a cosine" if likelihood else "are not known of this release"
            raise IncompatibleError(f"BatchNorm statistics {why}")
        iterations = min(space.budget, self.iterations)

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            unknowns = Pixels.told(seen, known_targets(seen, infer(seen), errors=self.errors))
            known = ((self.statistics, BatchNormStatistics(seen)),) if self.statistics else ()
            objective = Objective(seen, unknowns, matching, priors + known)
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
