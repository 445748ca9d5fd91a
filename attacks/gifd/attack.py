"""GIFD: gradient inversion over the features of a generator (Fang et al., ICCV 2023)."""

from __future__ import annotations

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.gifd.layers import LayerByLayer
from bench.engine import (
    FeatureSearch,
    Matching,
    Objective,
    Pixels,
    Promising,
    WarmAdam,
    assumed,
    blocks_of,
    chunk_size,
    distance,
    generator_of,
    gradient_search,
    in_nats,
    latent_objective,
    most_features,
    private_labels,
)


class GIFD(Attack):
    """Searches the latent, then the features of one block after the other (Algorithm 1)."""

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
        layers: int = 3,
        feature_rate: float = 0.03,
        radius: float = 0.3,
        growth: float = 0.5,
        tv: float = 1e-4,
        norm: float = 1e-6,
        tv_nats: float = 0.0,
        spread_nats: float = 0.3,
        imitations: int = 3,
    ) -> None:
        """Sets the distance, the steps and the balls; the harness brings the generator."""
        self.generator = generator
        self.matching = matching
        self.evaluations = evaluations
        self.latent_share = latent_share
        self.candidates, self.followed = candidates, followed
        self.adam = WarmAdam(learning_rate=learning_rate)
        self.feature_adam = WarmAdam(learning_rate=feature_rate)
        self.kl, self.kl_nats = kl, kl_nats
        self.layers, self.radius, self.growth = layers, radius, growth
        self.tv, self.norm = tv, norm
        self.tv_nats, self.spread_nats = tv_nats, spread_nats
        self.imitations = imitations

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are inferred from the last layer; then every victim's layers are searched at once.

        Raises:
            IncompatibleError: there is no generator, it names no blocks, or there is no image to imitate a
                transform of the inputs with.
        """
        prior, nats = generator_of(observation), in_nats(observation)
        loss, labels = distance(self.matching, observation), private_labels(observation)
        latents = Promising(
            minimiser=self.adam,
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
            LayerByLayer(
                blocks=blocks_of(prior),
                latents=latents,
                share=self.latent_share,
                features=FeatureSearch(
                    minimiser=self.feature_adam, layers=self.layers, radius=self.radius, growth=self.growth
                ),
                tv=self.tv_nats if nats else self.tv,
                norm=0.0 if nats else self.norm,
                spread=self.spread_nats if nats else None,
            ),
            budget=min(budget, self.evaluations),
            seed=seed,
            labels=labels,
            imitations=self.imitations,
            changed=observation.batch_size * most_features(prior),
            found_as=Pixels.of(observation, assumed(observation, labels)),
        )
