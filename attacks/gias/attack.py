"""GIAS: a generative prior, searched in its latents and in its weights (Jeon et al., NeurIPS 2021)."""

from __future__ import annotations

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.gias.phases import TwoPhases
from bench.engine import (
    Matching,
    Objective,
    Pixels,
    Promising,
    WarmAdam,
    assumed,
    chunk_size,
    distance,
    generator_of,
    gradient_search,
    in_nats,
    latent_objective,
    private_labels,
)


class GIAS(Attack):
    """Searches the latent (Eq. 4), then adapts the generator's weights to each release (Eq. 5)."""

    def __init__(
        self,
        *,
        generator: str = "vae",
        matching: str = "auto",
        evaluations: int = 300,
        latent_share: float = 0.3,
        candidates: int = 100,
        followed: int = 2,
        learning_rate: float = 0.1,
        kl: float = 0.01,
        kl_nats: float = 64.0,
        weights_rate: float = 1e-3,
        tv: float = 1e-6,
        tv_nats: float = 0.0,
        spread_nats: float = 3e-3,
        imitations: int = 3,
    ) -> None:
        """Sets the distance and the steps of both phases; the harness brings the generator."""
        self.generator = generator
        self.matching = matching
        self.evaluations = evaluations
        self.latent_share = latent_share
        self.candidates, self.followed = candidates, followed
        self.latents = WarmAdam(learning_rate=learning_rate)
        self.kl, self.kl_nats = kl, kl_nats
        self.weights = WarmAdam(learning_rate=weights_rate)
        self.tv, self.tv_nats, self.spread_nats = tv, tv_nats, spread_nats
        self.imitations = imitations

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are inferred from the last layer; then both phases run on every victim at once.

        Raises:
            IncompatibleError: there is no generator, or no image to imitate a transform of the inputs with.
        """
        prior, nats = generator_of(observation), in_nats(observation)
        loss = distance(self.matching, observation)
        first = Promising(
            minimiser=self.latents,
            candidates=self.candidates,
            followed=self.followed,
            seed=seed,
            rows=chunk_size(observation, unknowns=observation.batch_size * prior.latent_size),
        )

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            return latent_objective(seen, matching, loss, kl=self.kl, kl_nats=self.kl_nats)

        return gradient_search(
            observation,
            loss,
            objective,
            TwoPhases(
                first=first,
                share=self.latent_share,
                second=self.weights,
                tv=self.tv_nats if nats else self.tv,
                spread=self.spread_nats if nats else None,
            ),
            budget=min(budget, self.evaluations),
            seed=seed,
            labels=private_labels(observation),
            imitations=self.imitations,
            changed=sum(value.numel() for value in prior.decoder.parameters()),
            found_as=Pixels.of(observation, assumed(observation, private_labels(observation))),
        )
