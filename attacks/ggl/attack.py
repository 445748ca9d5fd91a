"""GGL: generative gradient leakage (Li, Zhang, Liu, Liu, CVPR 2022)."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine import (
    EvolutionStrategy,
    Matching,
    Objective,
    Promising,
    WarmAdam,
    chunk_size,
    distance,
    generator_of,
    gradient_search,
    latent_objective,
    private_labels,
)


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
        self.kl, self.kl_nats, self.kl_imitated = kl, kl_nats, kl_imitated
        self.evaluations = evaluations
        self.candidates, self.followed = candidates, followed
        self.adam = WarmAdam(learning_rate=learning_rate)
        self.population, self.step = population, step
        self.imitations = imitations

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are inferred from the last layer; then the latents of every victim are searched at once.

        Raises:
            IncompatibleError: there is no generator, or no image to imitate a transform of the inputs with.
        """
        rows = chunk_size(
            observation, unknowns=observation.batch_size * generator_of(observation).latent_size
        )
        loss = distance(self.matching, observation)
        imitates = observation.defense is not None and observation.defense.transform is not None
        kl = self.kl_imitated if imitates else self.kl
        evolves = self.optimiser == "cma"

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            whole = latent_objective(seen, matching, loss, kl=kl, kl_nats=self.kl_nats)
            return replace(whole, guide=None) if evolves else whole

        return gradient_search(
            observation,
            loss,
            objective,
            Promising(
                minimiser=EvolutionStrategy(population=self.population, step=self.step, seed=seed, rows=rows)
                if evolves
                else self.adam,
                candidates=self.candidates,
                followed=1 if evolves else self.followed,
                seed=seed,
                rows=rows,
            ),
            budget=min(budget, self.evaluations),
            seed=seed,
            labels=private_labels(observation),
            imitations=self.imitations,
        )
