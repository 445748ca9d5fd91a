"""The surrogate model of a client's local training, and the search for its place beside the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Self

import torch
from torch import Tensor

from bench.api import GradientObservation
from bench.api.threat import LocalTraining
from bench.engine import Objective, Pixels, SignedAdam
from bench.engine.gradients import GradientMap
from bench.engine.minimisers.adam import Scheduled
from bench.engine.minimisers.contract import Optimum, Project


@dataclass(frozen=True)
class PixelsAndPlace(Pixels):
    """Pixels, and as last unknown the place ``a`` of the surrogate: 0 at the first weights, 1 at the last.

    Attributes:
        place: where ``a`` starts.
    """

    place: float = 0.5

    @property
    def size(self) -> int:
        """B * C * H * W + 1."""
        return prod(self.shape) + 1

    def start(self, ids: Tensor, *, seed: int, like: Tensor) -> Tensor:
        """Pixels of N(0, 1), and the place."""
        pixels = Pixels(self.shape, self.targets).start(ids, seed=seed, like=like)
        return torch.cat([pixels, torch.full_like(pixels[:, :1], self.place)], dim=1)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images, the fixed targets."""
        return point[:, :-1].unflatten(1, self.shape), self.targets

    def select(self, victims: Tensor) -> Self:
        """The targets of some of the victims."""
        return type(self)(self.shape, self.targets[victims], self.place)


@dataclass(frozen=True, kw_only=True)
class SurrogateObjective(Objective):
    """Matches the gradient at ``w(a) = (1 - a) w_0 + a w_S``, so that no local step is simulated.

    Attributes:
        last: the weights after the local steps, ``[N, ...]`` by name.
    """

    last: Mapping[str, Tensor]

    def costs(self, point: Tensor, /) -> Tensor:
        """The total cost ``[N]``, differentiable in the images and in the place."""
        images, targets = self.parametrisation.decode(point)
        found = self._at(point[:, -1])(images, targets)
        total = self.matching(found, self.observation.gradients)
        for weight, prior in self.priors:
            total = total + weight * prior(images)
        return total

    def select(self, rows: Tensor) -> Self:
        """The objective of some of the victims."""
        last = {name: value[rows] for name, value in self.last.items()}
        return replace(super().select(rows), last=last)

    def _at(self, place: Tensor) -> GradientMap:
        """Gradients at the surrogate weights of every victim."""
        plain, own = self._batched, self.observation.per_victim_weights
        weights = {}
        for name, value in plain.weights.items():
            end = self.last[name]
            weights[name] = torch.lerp(value if own else value.expand_as(end), end, _column(place, end))
        still = {
            name: weights.get(name, value if own else value.expand(len(place), *value.shape))
            for name, value in plain.still.items()
        }
        return replace(plain, weights=weights, still=still, own=True, alone=False)


@dataclass(frozen=True, kw_only=True)
class WithPlace(SignedAdam):
    """Signed Adam for the pixels; for the last unknown plain Adam at a rate that stays, clipped to [0, 1].

    Attributes:
        place_rate: the learning rate of the last unknown.
    """

    place_rate: float

    def minimise(
        self, objective: Scheduled, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """As every Adam; each iterate's last unknown is clipped, too."""

        def clipped(point: Tensor) -> Tensor:
            point = project(point) if project else point
            return torch.cat([point[:, :-1], point[:, -1:].clamp(0, 1)], dim=1)

        return super().minimise(objective, start, evaluations=evaluations, project=clipped)

    def _direction(self, gradient: Tensor) -> Tensor:
        return torch.cat([super()._direction(gradient[:, :-1]), gradient[:, -1:]], dim=1)

    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        pixels = super()._step(rate, first[:, :-1], weight, spread[:, :-1])
        place = super()._step(self.place_rate, first[:, -1:], weight, spread[:, -1:])
        return torch.cat([pixels, place], dim=1)


def last_weights(seen: GradientObservation, local: LocalTraining) -> Mapping[str, Tensor]:
    """The weights ``w_S = w_0 - S * rate * release`` that each client ended with, ``[N, ...]`` by name."""
    moved = local.steps(seen.batch_size) * local.learning_rate
    return {name: seen.parameters[name] - moved * value for name, value in seen.gradients.items()}


def _column(place: Tensor, like: Tensor) -> Tensor:
    return place.view(-1, *[1] * (like.dim() - 1))
