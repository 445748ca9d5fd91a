"""Intermediate features of a generator, searched one layer after the other inside l1 balls.

Intermediate layer optimisation (Daras et al., ICML 2021): what a latent cannot draw, features near those of
the best latent often can. Features are unknowns like latents, of the blocks that are left as a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from bench.api.errors import IncompatibleError
from bench.api.generator import ImageGenerator
from bench.engine.minimisers.contract import BatchedObjective, Minimiser, Optimum

RowsT = TypeVar("RowsT", bound=BatchedObjective)


@runtime_checkable
class Layered(Protocol):
    """A decoder that says what it is composed of."""

    def blocks(self) -> tuple[nn.Module, ...]:
        """At least two modules, which one after the other do what the decoder does."""


def blocks_of(generator: ImageGenerator) -> tuple[nn.Module, ...]:
    """The blocks of a generator's decoder.

    Raises:
        IncompatibleError: it does not say what they are.
    """
    if not isinstance(generator.decoder, Layered):
        raise IncompatibleError("features between a generator's blocks are searched, and it names no blocks")
    return generator.decoder.blocks()


@torch.no_grad()
def most_features(generator: ImageGenerator) -> int:
    """How many numbers the largest layer of features has, of one image."""
    blocks = blocks_of(generator)
    features = next(generator.decoder.parameters()).new_zeros(1, generator.latent_size)
    sizes: list[int] = []
    for block in blocks[:-1]:
        features = block(features)
        sizes.append(features.numel())
    return max(sizes, default=0)


def on_l1_ball(offsets: Tensor, radius: float) -> Tensor:
    """The nearest points of the l1 ball around zero, exactly (Duchi et al., ICML 2008, Figure 1).

    Magnitudes above a threshold ``theta`` are lowered by it, others are zero; it is found among the sorted
    magnitudes ``u``: ``theta = max_j (u_1 + ... + u_j - radius) / j``, which is attained at Duchi's ``rho``.

    Args:
        offsets: ``[..., D]``; each row by itself.
        radius: of the ball, not negative.

    Returns:
        ``[..., D]``; rows inside the ball as they are.
    """
    sizes = offsets.abs()
    sums = sizes.double().sort(dim=-1, descending=True).values.cumsum(dim=-1)
    ranks = torch.arange(1, offsets.shape[-1] + 1, device=offsets.device)
    theta = ((sums - radius) / ranks).amax(dim=-1, keepdim=True)
    lowered = offsets.sign() * (sizes - theta).clamp_min(0).to(offsets)
    return torch.where(sums[..., -1:] <= radius, offsets, lowered)


@dataclass(frozen=True)
class L1Ball:
    """The l1 balls of N rows, one for each image.

    Attributes:
        centre: ``[N, B, D]``.
        radius: of each.
    """

    centre: Tensor
    radius: float

    def __call__(self, point: Tensor) -> Tensor:
        """The nearest allowed points ``[N, B * D]``."""
        offsets = point.view_as(self.centre) - self.centre
        return (self.centre + on_l1_ball(offsets, self.radius)).flatten(1)


@dataclass(frozen=True, kw_only=True)
class FeatureSearch(Generic[RowsT]):
    """The outputs of a generator's first blocks as unknowns, each from the optimum of those before.

    Attributes:
        minimiser: of every layer; one that keeps rows as they come, since each has a ball of its own.
        layers: how many are searched at most; the images themselves never are.
        radius: of the first layer's ball, per feature: the mean by which one may change.
        growth: what each further layer's exceeds the last by, as a share of the first.
    """

    minimiser: Minimiser[RowsT]
    layers: int
    radius: float
    growth: float

    def minimise(
        self,
        objective: Callable[[nn.Module, Tensor], RowsT],
        blocks: tuple[nn.Module, ...],
        start: Optimum,
        *,
        evaluations: Tensor,
    ) -> Optimum:
        """The images of each row's cheapest layer.

        The first iterate of a layer draws what the last one found, so that costs fall from layer to layer.

        Args:
            objective: ``(decoder of flat features [M, D], centre [N, B, D])`` -> the cost of features
                ``[N, B * D]``, which are searched from the centre.
            blocks: of the generator.
            start: latents ``[N, B, Z]`` and their cost, which counts where no evaluations are left.
            evaluations: int64 ``[N]``, of all layers together; shared equally.

        Returns:
            Images ``[N, B, C, H, W]``, their cost, and the evaluations of all layers.
        """
        batch, number = start.point.shape[:2], min(self.layers, len(blocks) - 1)
        with torch.no_grad():
            features = start.point.flatten(0, 1)
            best = nn.Sequential(*blocks)(features).unflatten(0, batch)
        cost, spent = start.cost, torch.zeros_like(evaluations)
        for depth in range(1, number + 1):
            share = (evaluations - spent) // (number + 1 - depth)
            with torch.no_grad():
                made = blocks[depth - 1](features)
            decoder = nn.Sequential(nn.Unflatten(1, made.shape[1:]), *blocks[depth:])
            centre = made.flatten(1).unflatten(0, batch)
            size = centre.shape[2]
            ball = L1Ball(centre, size * self.radius * (1 + self.growth * (depth - 1)))
            found = self.minimiser.minimise(
                objective(decoder, centre), centre.flatten(1), evaluations=share, project=ball
            )
            with torch.no_grad():
                features = found.point.view(-1, size).unflatten(1, made.shape[1:])
                drawn = nn.Sequential(*blocks[depth:])(features).unflatten(0, batch)
            better = found.cost < torch.where(spent > 0, cost, torch.inf)
            best = torch.where(better.view(-1, 1, 1, 1, 1), drawn, best)
            cost = torch.where(better, found.cost, cost)
            spent = spent + found.evaluations
        return Optimum(best, cost, spent)
