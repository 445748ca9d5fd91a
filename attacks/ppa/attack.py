"""Plug & Play Attacks (Struppek, Hintersdorf, De Almeida Correia, Adler, Kersting, ICML 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.api import ModelAttack, ModelObservation, Reconstruction
from bench.attacks.ppa.views import Views
from bench.engine import Descent, generator_of, in_parts, poincare, start_latents, target_probability


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the evaluations of one image are spent.

    Attributes:
        candidates: latents that are drawn and looked at once.
        kept: the best of them, which are optimised.
        steps: of each kept latent.
        looks: random views of each result, by which one of them is chosen.
    """

    candidates: int
    kept: int
    steps: int
    looks: int

    @property
    def cost(self) -> int:
        """Evaluations per image. A lone candidate need not be looked at, nor a lone result."""
        return (self.candidates if self.candidates > self.kept else 0) + self.kept * (self.steps + self.looks)

    def within(self, budget: int) -> Plan:
        """The same with less of everything, if the budget does not suffice."""
        candidates = min(self.candidates, max(1, budget // 4))
        kept = min(self.kept, candidates)
        left = max(0, budget - (candidates if candidates > kept else 0)) // kept
        looks = min(self.looks, left // 8) if kept > 1 else 0
        return Plan(candidates=candidates, kept=kept, steps=min(self.steps, left - looks), looks=looks)


class PlugAndPlay(ModelAttack):
    """Samples, optimises the best by the Poincare loss on random views, and keeps the most robust."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        learning_rate: float = 5e-3,
        candidates: int = 100,
        kept: int = 4,
        steps: int = 70,
        looks: int = 16,
        shift: float = 2.0,
        zoom: float = 0.1,
    ) -> None:
        """Sets the plan for one image, Adam's rate and the range of views; the generator is given."""
        self.optimiser = Descent(partial(torch.optim.Adam, lr=learning_rate, betas=(0.1, 0.1)))
        self.plan = Plan(candidates=candidates, kept=kept, steps=steps, looks=looks)
        self.views = Views(shift=shift, zoom=zoom)

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """Candidates and results of one class compete for its B images.

        Raises:
            IncompatibleError: there is no generator.
        """
        plan, images_each = self.plan.within(budget), observation.batch_size
        latents = self._candidates(observation, plan, seed)
        rows = observation.targets[:, None].expand(latents.shape[:2]).flatten()
        found = in_parts(partial(self._optimised, observation, plan, seed), latents.flatten(0, 1), rows)
        with torch.no_grad():
            sure, images, costs = self._judged(observation, plan, seed, found, rows)
        best = sure.unflatten(0, latents.shape[:2]).topk(images_each).indices
        spent = torch.full_like(observation.targets, plan.cost)
        return Reconstruction(
            images=_chosen(images.unflatten(0, latents.shape[:2]), best),
            cost=_chosen(costs.unflatten(0, latents.shape[:2]), best).mean(1),
            evaluations=spent,
            labels=observation.targets[:, None].repeat(1, images_each),
        )

    @torch.no_grad()
    def _candidates(self, observation: ModelObservation, plan: Plan, seed: int) -> Tensor:
        """The latents ``[N, kept * B, Z]`` whose images the victim is surest of (initial selection)."""
        latents = start_latents(observation, seed=seed, each=plan.candidates)
        if plan.candidates == plan.kept:
            return latents
        rows = observation.targets[:, None].expand(latents.shape[:2]).flatten()
        decoder = generator_of(observation).decoder

        def sure(some: Tensor, wanted: Tensor) -> Tensor:
            return target_probability(observation.model(decoder(some)), wanted)

        found = in_parts(sure, latents.flatten(0, 1), rows).view(latents.shape[:2])
        return _chosen(latents, found.topk(plan.kept * observation.batch_size).indices)

    def _optimised(
        self, observation: ModelObservation, plan: Plan, seed: int, latents: Tensor, wanted: Tensor
    ) -> Tensor:
        """Adam on the Poincare loss of one random view in each step."""
        decoder = generator_of(observation).decoder
        views = iter(self.views.draw(plan.steps + plan.looks, seed=seed)[: plan.steps])

        def cost(point: Tensor) -> Tensor:
            return poincare(observation.model(self.views.see(decoder(point), next(views))), wanted)

        steps = torch.full_like(wanted, plan.steps)
        return self.optimiser.minimise(cost, latents, evaluations=steps).point

    def _judged(
        self, observation: ModelObservation, plan: Plan, seed: int, latents: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean probability under random views (final selection), images, and costs of these as they are."""
        model = observation.model
        images = in_parts(generator_of(observation).decoder, latents)
        sure = torch.zeros_like(latents[:, 0])
        for view in self.views.draw(plan.steps + plan.looks, seed=seed)[plan.steps :]:

            def seen(some: Tensor, wanted: Tensor, view: Tensor = view) -> Tensor:
                return target_probability(model(self.views.see(some, view)), wanted)

            sure += in_parts(seen, images, rows) / plan.looks
        return sure, images, in_parts(lambda some, wanted: poincare(model(some), wanted), images, rows)


def _chosen(values: Tensor, best: Tensor) -> Tensor:
    """The rows ``best [N, b]`` of ``[N, R, ...]``."""
    return values[torch.arange(len(best), device=best.device)[:, None], best]
