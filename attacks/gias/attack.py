"""GIAS: a generative prior, searched in its latents and in its weights (Jeon et al., NeurIPS 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine import (
    GeneratorWeights,
    Imitations,
    LatentSearch,
    Matching,
    Objective,
    Optimum,
    WarmAdam,
    adaptive_loss,
    assumed,
    chunk_size,
    imitated,
    private_labels,
    search,
    total_variation,
)
from bench.engine.generative import distance, latent_objective, searchable
from bench.engine.gradients import one_hot


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
        self.imitations = imitations
        self.evaluations = evaluations
        self.latent_share = latent_share
        self.first = LatentSearch(
            optimiser=WarmAdam(learning_rate=learning_rate), candidates=candidates, followed=followed
        )
        self.kl, self.kl_nats = kl, kl_nats
        self.second = WarmAdam(learning_rate=weights_rate)
        self.tv, self.tv_nats, self.spread_nats = tv, tv_nats, spread_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are inferred from the last layer; then both phases run on every victim at once.

        Raises:
            IncompatibleError: there is no generator, or no image to imitate a transform of the inputs with.
        """
        prior = searchable(observation)
        copies = imitated(observation, seed=seed, number=self.imitations)
        own = distance(self.matching, observation)
        matching, likelihood = adaptive_loss(observation, own)
        size = sum(value.numel() for value in prior.decoder.parameters())
        rows = chunk_size(observation, unknowns=observation.batch_size * prior.latent_size)
        budget = min(budget, self.evaluations)
        first = max(1, round(self.latent_share * budget))

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            divergence = self.kl_nats if likelihood else self.kl
            objective = latent_objective(seen, _labels(seen), matching, divergence, copies)
            plain = latent_objective(seen, _labels(seen), own(None), self.kl, copies)
            guide = plain if likelihood else None
            drawn = self.first.minimise(
                objective, seen.ids, evaluations=first, seed=seed, rows=rows, guide=guide
            )
            return self._adapted(seen, drawn, matching, likelihood, budget, copies)

        chunk = chunk_size(observation, unknowns=size)
        found = search(observation, attempt, budget=budget, failed=torch.isnan, restarts=0, chunk=chunk)
        return Reconstruction(
            images=found.point.unflatten(1, (observation.batch_size, *observation.image_shape)),
            cost=found.cost,
            evaluations=found.evaluations,
            labels=private_labels(observation),
        )

    def _adapted(
        self,
        seen: GradientObservation,
        drawn: Optimum,
        matching: Matching,
        likelihood: bool,
        budget: int,
        copies: Imitations | None,
    ) -> Optimum:
        """The images ``[N, B * C * H * W]`` that each victim's own generator draws in the end."""
        prior = searchable(seen)
        latents = drawn.point.unflatten(1, (-1, prior.latent_size))
        targets = one_hot(_labels(seen), seen.num_classes, seen.reference.dtype)
        unknowns = GeneratorWeights(prior.decoder, latents, targets)
        start = unknowns.start()
        weight = 0.5 / self.spread_nats**2 if likelihood else 0.0
        objective = Objective(
            seen,
            unknowns,
            matching,
            priors=((self.tv_nats if likelihood else self.tv, total_variation),),
            penalties=((weight, lambda point: (point - start[:1]).square().sum(1)),) if likelihood else (),
            imitations=copies,
        )
        left = budget - int(drawn.evaluations.max())
        tuned = self.second.minimise(objective, start, iterations=left)
        with torch.no_grad():
            images, _ = unknowns.decode(tuned.point)
        cost = tuned.cost if left else drawn.cost
        return Optimum(images.flatten(1), cost, drawn.evaluations + tuned.evaluations)


def _labels(observation: GradientObservation) -> Tensor:
    """Int64 ``[N, B]``, from the last layer alone; where it does not tell, classes to search with."""
    return assumed(observation, private_labels(observation))
