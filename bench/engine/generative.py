"""Images from a generator: its latents are the unknowns (GGL), or afterwards its weights (GIAS)."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, prod
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.api.errors import IncompatibleError
from bench.api.generator import ImageGenerator
from bench.api.observation import GradientObservation
from bench.engine.gradients import one_hot
from bench.engine.matching import MATCHINGS, Cosine, Euclidean, Matching, TensorCosine
from bench.engine.minimisers.evolution import promising
from bench.engine.minimisers.lbfgs import BatchedObjective
from bench.engine.minimisers.optimum import Optimum
from bench.engine.objective import Objective
from bench.engine.parametrise import Parametrisation
from bench.engine.priors import latent_divergence
from bench.engine.transforms.imitated import Imitations


@dataclass(frozen=True)
class Latents(Parametrisation):
    """One latent per image; the generator is fixed (Li et al. 2022, Eq. 3).

    Attributes:
        generator: ``[M, Z] -> [M, C, H, W]`` in [0, 1], in evaluation mode.
        latent_size: Z.
        targets: ``[N, B, K]``.
    """

    generator: nn.Module
    latent_size: int
    targets: Tensor

    @property
    def size(self) -> int:
        """B * Z."""
        return self.targets.shape[1] * self.latent_size

    def latents(self, point: Tensor) -> Tensor:
        """``[N, B * Z] -> [N, B, Z]``."""
        return point.view(len(point), self.targets.shape[1], self.latent_size)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, B * Z]`` -> images ``[N, B, C, H, W]``, the fixed targets."""
        drawn: Tensor = self.generator(self.latents(point).flatten(0, 1))
        return drawn.view(*self.targets.shape[:2], *drawn.shape[1:]), self.targets

    def select(self, victims: Tensor) -> Self:
        """The targets of some of the victims."""
        return type(self)(self.generator, self.latent_size, self.targets[victims])


@dataclass(frozen=True)
class GeneratorWeights(Parametrisation):
    """The generator's own weights, one set per victim; latents are fixed (Jeon et al. 2021, Eq. 5).

    Attributes:
        generator: as in :class:`Latents`; its weights are where every victim starts.
        latents: ``[N, B, Z]``.
        targets: ``[N, B, K]``.
    """

    generator: nn.Module
    latents: Tensor
    targets: Tensor

    @property
    def size(self) -> int:
        """The number of the generator's weights."""
        return sum(value.numel() for value in self.generator.parameters())

    def start(self) -> Tensor:
        """The generator's weights as everybody's unknowns, ``[N, D]``."""
        flat = torch.cat([value.detach().flatten() for value in self.generator.parameters()])
        return flat.repeat(len(self.targets), 1)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images ``[N, B, C, H, W]``, the fixed targets."""
        shapes = {name: value.shape for name, value in self.generator.named_parameters()}
        parts = point.split([prod(shape) for shape in shapes.values()], dim=1)
        weights = {
            name: part.unflatten(1, shape) if shape else part.squeeze(1)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

        def one(own: dict[str, Tensor], latents: Tensor) -> Tensor:
            images: Tensor = functional_call(self.generator, own, (latents,))
            return images

        images: Tensor = vmap(one)(weights, self.latents)
        return images, self.targets

    def select(self, victims: Tensor) -> Self:
        """Latents and targets of some of the victims."""
        return type(self)(self.generator, self.latents[victims], self.targets[victims])


def searchable(observation: GradientObservation) -> ImageGenerator:
    """The attacker's generator.

    Raises:
        IncompatibleError: there is none.
    """
    if observation.generator is None:
        raise IncompatibleError("the attack searches a generator, and this attacker has none")
    return observation.generator


def distance(name: str, observation: GradientObservation) -> type[Cosine | TensorCosine | Euclidean]:
    """The matching loss that an attack's parameter names.

    Args:
        name: a key of :data:`~bench.engine.matching.MATCHINGS`; or ``auto``: each tensor's own cosine where a
            transform of the clients' inputs is known, else the one of all layers together.
        observation: says whether it is.
    """
    view = observation.defense
    if name == "auto":
        name = "cosine" if view is None or view.transform is None else "tensors"
    return MATCHINGS[name]


def latent_objective(
    observation: GradientObservation,
    labels: Tensor,
    matching: Matching,
    divergence: float,
    imitations: Imitations | None = None,
) -> Objective:
    """What GGL minimises over the latents (Li et al. 2022, Eq. 3).

    Args:
        observation: with a generator.
        labels: int64 ``[N, B]``.
        matching: distance of gradients.
        divergence: weight of :func:`~bench.engine.priors.latent_divergence` beside it.
        imitations: of what clients turn their images into, where it is known that they do.
    """
    prior = searchable(observation)
    targets = one_hot(labels, observation.num_classes, observation.reference.dtype)
    latents = Latents(prior.decoder, prior.latent_size, targets)

    def moments(point: Tensor) -> Tensor:
        return latent_divergence(point.unflatten(1, (-1, prior.latent_size)))

    return Objective(
        observation, latents, matching, penalties=((divergence, moments),), imitations=imitations
    )


@dataclass(frozen=True, kw_only=True)
class WarmAdam:
    """Adam whose rate rises over the first iterations and falls to zero over the last (Li et al. 2022).

    Attributes:
        learning_rate: in between.
        warm_up: share of the iterations over which it rises from zero, linearly.
        decay: share of the iterations over which it falls, along a half cosine.
        betas: decay of both moments.
    """

    learning_rate: float = 0.1
    warm_up: float = 0.05
    decay: float = 0.25
    betas: tuple[float, float] = (0.9, 0.999)

    def rate(self, share: float) -> float:
        """The learning rate when ``share`` of the iterations, in (0, 1], is over."""
        rising = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        over = max(0.0, share - 1 + self.decay) / self.decay if self.decay else 0.0
        return self.learning_rate * rising * 0.5 * (1 + cos(pi * over))

    def minimise(self, objective: BatchedObjective, start: Tensor, *, iterations: int) -> Optimum:
        """Runs the schedule once on every row; rows share nothing.

        Args:
            objective: costs and gradients of M rows.
            start: ``[M, D]``.
            iterations: evaluations per row.

        Returns:
            Each row's iterate of lowest cost.
        """
        point = best = start
        cost = start.new_full(start.shape[:1], torch.inf)
        first, second = torch.zeros_like(start), torch.zeros_like(start)
        for turn in range(1, iterations + 1):
            here, slope = objective(point)
            better = here < cost
            best, cost = torch.where(better.unsqueeze(1), point, best), torch.where(better, here, cost)
            slope = slope.nan_to_num(0.0, 0.0, 0.0)
            first = torch.lerp(slope, first, self.betas[0])
            second = torch.lerp(slope.square(), second, self.betas[1])
            spread = (second / (1 - self.betas[1] ** turn)).sqrt() + 1e-12
            moved = first / (1 - self.betas[0] ** turn) / spread
            point = point - self.rate(turn / iterations) * moved
        return Optimum(best, cost, torch.full_like(cost, iterations, dtype=torch.long))


@dataclass(frozen=True, kw_only=True)
class LatentSearch:
    """Random latents, the most promising of which are followed: a latent's cost has many local minima.

    Attributes:
        optimiser: of the latents that are followed.
        candidates: random latents that are costed; at most a fifth of the budget.
        followed: how many of them are optimised, with equal shares of what is left.
    """

    optimiser: WarmAdam
    candidates: int
    followed: int

    def minimise(
        self,
        objective: Objective,
        ids: Tensor,
        *,
        evaluations: int,
        seed: int,
        rows: int,
        guide: Objective | None = None,
    ) -> Optimum:
        """The latents of lowest cost that the search comes across.

        Args:
            objective: of N victims, over latents ``[N, D]`` of a standard normal.
            ids: int64 ``[N]``, by which candidates are drawn.
            evaluations: per victim, at least one.
            seed: the only source of randomness.
            rows: points in one graph.
            guide: takes the objective's place until half of the iterations are over: a cost of the same
                unknowns with fewer local minima.
        """
        followed = max(1, min(self.followed, evaluations // 10))
        candidates = min(self.candidates, evaluations // 5)
        start = promising(guide or objective, ids, candidates=candidates, keep=followed, seed=seed, rows=rows)
        costed = candidates if candidates > followed else 0
        iterations = (evaluations - costed) // followed
        victims = torch.arange(len(start), device=start.device).repeat_interleave(followed)
        parts = [
            self._followed(objective, guide, part, own, iterations)
            for part, own in zip(victims.split(rows), start.flatten(0, 1).split(rows), strict=True)
        ]
        cost = torch.cat([part.cost for part in parts]).view(start.shape[:2])
        place = cost.argmin(dim=1)
        victim = torch.arange(len(start), device=start.device)
        point = torch.cat([part.point for part in parts]).view_as(start)[victim, place]
        spent = torch.full_like(ids, costed + iterations * followed)
        return Optimum(point, cost[victim, place], spent)

    def _followed(
        self, objective: Objective, guide: Objective | None, victims: Tensor, start: Tensor, iterations: int
    ) -> Optimum:
        early = iterations // 2 if guide else 0
        if guide and early:
            start = self.optimiser.minimise(guide.select(victims), start, iterations=early).point
        return self.optimiser.minimise(objective.select(victims), start, iterations=iterations - early)
