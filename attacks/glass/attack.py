"""GLASS: GAN-based latent space search against split learning (Li et al., NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.api import (
    ImageGenerator,
    IncompatibleError,
    Reconstruction,
    SmashedAttack,
    SmashedObservation,
)
from bench.attacks.glass.paths import Paths, paths
from bench.attacks.glass.search import LatentCost, LatentPhase, PixelCost
from bench.engine import Optimum, WarmAdam, generator_of
from bench.engine.parametrise import starts
from bench.engine.transforms.inputs import imitated


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Weights beside a mismatch: of a latent's norm, and of total variation and distance of pixels."""

    norm: float
    tv: float = 0.0
    tv_start: float = 0.0
    pull: float = 0.0


class GLASS(SmashedAttack):
    """Searches the latent whose image has the observed activations, then the pixels around that image."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        candidates: int = 60,
        followed: int = 2,
        learning_rate: float = 0.1,
        latent_share: float = 0.8,
        pixel_rate: float = 0.3,
        imitations: int = 3,
        norm: float = 1e-3,
        tv: float = 0.03,
        tv_start: float = 0.1,
        norm_nats: float = 1.0,
        tv_nats: float = 2000.0,
        pull_nats: float = 30.0,
    ) -> None:
        """Sets the schedule of both phases and the weights of priors; the harness brings the generator."""
        self.generator = generator
        optimiser = WarmAdam(learning_rate=learning_rate)
        self.latents = LatentPhase(optimiser=optimiser, candidates=candidates, followed=followed)
        self.latent_share = latent_share
        self.pixel_rate = pixel_rate
        self.imitations = imitations
        self.complete = Priors(norm=norm, tv_start=tv_start)
        self.incomplete = Priors(norm=norm, tv=tv)
        self.nats = Priors(norm=norm_nats, tv=tv_nats, pull=pull_nats)

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """All images at once, each on its own.

        Raises:
            IncompatibleError: the client's weights are not known, there is no generator, or images are needed
                to imitate what clients do to theirs and there are none.
        """
        client = observation.client
        if client is None:
            raise IncompatibleError("glass differentiates the client's half, whose weights it does not know")
        prior = generator_of(observation)
        ways = paths(observation, client, imitated(observation, seed=seed, number=self.imitations))
        weights = self._priors(observation)
        found = self._latents(ways, prior, observation, weights.norm, budget, seed)
        with torch.no_grad():
            images = prior.decoder(found.point)
        left = budget - int(found.evaluations.max()) if ways.imitated is None else 0
        near = PixelCost(
            paths=ways, drawn=images, tv=weights.tv, tv_start=weights.tv_start, pull=weights.pull
        )
        tuned = near.minimise(self.pixel_rate, left)
        shape = (observation.victims, observation.batch_size)
        cost = tuned.cost if left else found.cost
        return Reconstruction(
            images=tuned.point.unflatten(0, shape),
            cost=cost.view(shape).mean(1),
            evaluations=(found.evaluations + tuned.evaluations).view(shape).amax(1),
        )

    def _priors(self, seen: SmashedObservation) -> Priors:
        """By how far the activations determine the image."""
        view = seen.defense
        if view is None:
            return self.complete
        if view.negative_log_likelihood is not None:
            return self.nats
        return self.complete if view.transmitted is None else self.incomplete

    def _latents(
        self,
        ways: Paths,
        prior: ImageGenerator,
        seen: SmashedObservation,
        norm: float,
        budget: int,
        seed: int,
    ) -> Optimum:
        # Pixels are left alone where clients are imitated: with so many unknowns they explain the copies'
        # mistakes, at a lower cost than that of the image.
        share = self.latent_share if ways.imitated is None else 1.0
        evaluations = max(1, round(share * budget))
        drawn, size = self.latents.sizes(evaluations)[0], prior.latent_size
        start = starts(seen.ids, seen.batch_size * drawn * size, seed=seed, like=seen.activations)
        images = seen.victims * seen.batch_size
        return self.latents.minimise(
            LatentCost(ways, prior.decoder, norm),
            start.view(images, drawn, size),
            evaluations=torch.full((images,), evaluations, device=seen.ids.device),
        )
