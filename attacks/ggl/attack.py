"""GGL: generative gradient leakage (Li, Zhang, Liu, Liu, CVPR 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine import (
    EvolutionStrategy,
    LatentSearch,
    Objective,
    Optimum,
    WarmAdam,
    adaptive_loss,
    assumed,
    chunk_size,
    imitated,
    private_labels,
    search,
)
from bench.engine.generative import distance, latent_objective, searchable
from bench.engine.minimisers.evolution import costs_of_many, promising


class GGL(Attack):
    """Searches the latent of a generator whose image has the observed gradient (Eq. 3 to 5)."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        optimiser: str = "adam",
        matching: str = "auto",
        kl: float = 0.01,
        kl_nats: float = 64.0,
        evaluations: int = 600,
        candidates: int = 200,
        learning_rate: float = 0.1,
        followed: int = 2,
        population: int = 20,
        step: float = 0.5,
        imitations: int = 3,
        kl_imitated: float = 0.1,
    ) -> None:
        """Sets the distance, the optimiser and how it starts; the harness brings the generator."""
        self.generator = generator
        self.optimiser = optimiser
        self.matching = matching
        self.imitations = imitations
        self.kl, self.kl_nats, self.kl_imitated = kl, kl_nats, kl_imitated
        self.evaluations = evaluations
        self.candidates = candidates
        self.search = LatentSearch(
            optimiser=WarmAdam(learning_rate=learning_rate), candidates=candidates, followed=followed
        )
        self.evolution = EvolutionStrategy(population=population, step=step)

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are inferred from the last layer; then the latents of every victim are searched at once.

        Raises:
            IncompatibleError: there is no generator, or no image to imitate a transform of the inputs with.
        """
        prior, labels = searchable(observation), private_labels(observation)
        copies = imitated(observation, seed=seed, number=self.imitations)
        budget = min(budget, self.evaluations)
        own = distance(self.matching, observation)
        matching, likelihood = adaptive_loss(observation, own)
        beside = self.kl if copies is None else self.kl_imitated
        divergence = self.kl_nats if likelihood else beside
        rows = chunk_size(observation, unknowns=observation.batch_size * prior.latent_size)

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            objective = latent_objective(seen, _labels(seen), matching, divergence, copies)
            if self.optimiser == "cma":
                return self._evolved(objective, budget=budget, seed=seed, rows=rows)
            plain = latent_objective(seen, _labels(seen), own(None), beside, copies)
            guide = plain if likelihood else None
            return self.search.minimise(
                objective, seen.ids, evaluations=budget, seed=seed, rows=rows, guide=guide
            )

        found = search(observation, attempt, budget=budget, failed=torch.isnan, restarts=0, chunk=rows)
        with torch.no_grad():
            unknowns = latent_objective(
                observation, _labels(observation), matching, divergence
            ).parametrisation
            images, _ = unknowns.decode(found.point)
        return Reconstruction(images=images, cost=found.cost, evaluations=found.evaluations, labels=labels)

    def _evolved(self, objective: Objective, *, seed: int, budget: int, rows: int) -> Optimum:
        """CMA-ES from the most promising of some random latents."""
        ids = objective.observation.ids
        candidates = min(self.candidates, budget // 5)
        start = promising(objective, ids, candidates=candidates, keep=1, seed=seed, rows=rows)[:, 0]
        costed = candidates if candidates > 1 else 0
        found = self.evolution.minimise(
            lambda points: costs_of_many(objective, points, rows=rows),
            start,
            ids=ids.tolist(),
            seed=seed,
            evaluations=budget - costed,
        )
        return Optimum(found.point, found.cost, found.evaluations + costed)


def _labels(observation: GradientObservation) -> Tensor:
    """Int64 ``[N, B]``, given or from the last layer; where that does not tell, classes to search with."""
    return assumed(observation, private_labels(observation))
