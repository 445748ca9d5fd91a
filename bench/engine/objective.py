"""The cost of every victim's dummy batch, and its gradient, in one graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

from torch import Tensor

from bench.api.gradients import ClientLoss
from bench.api.observation import GradientObservation
from bench.api.threat import BatchNorm
from bench.engine.gradients import GradientMap, cross_entropy, gradient_map, logit_gradient_loss
from bench.engine.matching import Matching
from bench.engine.minimisers.contract import BatchedObjective, costs_and_gradients
from bench.engine.parametrise import Parametrisation, WithDraws, assumed_loss
from bench.engine.priors import Prior, Weighted, statistics_gap
from bench.engine.transforms.imitated import Imitations
from bench.engine.transforms.local import simulated


class Fading(NamedTuple):
    """A prior on images that counts by ``weight * share^power``, the share falling from 1 to 0."""

    weight: float
    prior: Prior
    power: float = 2.0


class Guide(NamedTuple):
    """What takes the place of the matching loss and the penalties while a search is young."""

    matching: Matching
    penalties: Weighted


@dataclass(frozen=True)
class Objective(BatchedObjective):
    """Matching loss plus weighted priors, as a function of the unknowns.

    Attributes:
        observation: the releases to match.
        parametrisation: unknowns -> images and targets.
        matching: distance of gradients.
        priors: on the images.
        penalties: on the unknowns themselves.
        fading: a prior that guides the steps ever less, and is no part of the cost.
        imitations: of what clients turn their images into, where it is known that they do.
        guide: of a random search, see :class:`~bench.engine.minimisers.search.Sampled`.
        statistics: weight of the distance of the BatchNorm statistics from those that the observation holds.
        first_statistics: how much more those of the first such layer count.
        again: the parametrisation of the ``number``-th further attempt, if each has its own.
        alone: it was made for one victim, or for one at a time; single rows are not batched. The last of many
            victims whose others have ended stays batched: no search changes its arithmetic on the way.
    """

    observation: GradientObservation
    parametrisation: Parametrisation
    matching: Matching
    priors: Weighted = ()
    penalties: Weighted = ()
    fading: Fading | None = None
    imitations: Imitations | None = None
    guide: Guide | None = None
    statistics: float = 0.0
    first_statistics: float = 1.0
    again: Callable[[GradientObservation, int], Parametrisation] | None = None
    alone: bool = False

    @cached_property
    def _minimised(self) -> ClientLoss | None:
        return assumed_loss(self.observation)

    @cached_property
    def _batched(self) -> GradientMap:
        return self._map(alone=False)

    @cached_property
    def _unbatched(self) -> GradientMap:
        return self._map(alone=True)

    def _map(self, *, alone: bool) -> GradientMap:
        seen = self.observation
        evaluating = seen.threat.batch_norm is BatchNorm.EVAL
        return gradient_map(
            seen.model,
            seen.parameters,
            per_victim_weights=seen.per_victim_weights,
            loss=logit_gradient_loss if self.parametrisation.errors_told else cross_entropy,
            statistics=seen.statistics if evaluating else None,
            batch_loss=seen.loss,
            client_loss=None if self._minimised is None else self._minimised.of_batch,
            names=seen.gradients,
            alone=alone,
            local=simulated(seen),
        )

    @property
    def ids(self) -> Tensor:
        """Int64 ``[N]``, the attacker's numbering of the releases."""
        return self.observation.ids

    @property
    def guiding(self) -> Self | None:
        """The guide as an objective of its own; None if there is none."""
        if self.guide is None:
            return None
        return replace(self, matching=self.guide.matching, penalties=self.guide.penalties, guide=None)

    def costs(self, point: Tensor, /) -> Tensor:
        """The total cost ``[N]``, differentiable in ``point [N, D]``."""
        images, targets = self.parametrisation.decode(point)
        total = self._matched(images, targets, *self._drawn(point))
        for weight, prior in self.priors:
            total = total + weight * prior(images)
        for weight, penalty in self.penalties:
            total = total + weight * penalty(point)
        return total

    def _drawn(self, point: Tensor) -> tuple[Tensor, ...]:
        """What clients drew for their losses, ``[N, B, ...]``, as the attacker knows or searches it."""
        minimised, unknowns = self._minimised, self.parametrisation
        if minimised is None:
            return ()
        if minimised.searched is None or not isinstance(unknowns, WithDraws):
            return (minimised.drawn,)
        return (minimised.searched(unknowns.draws(point)),)

    def _matched(self, images: Tensor, targets: Tensor, *drawn: Tensor) -> Tensor:
        """The matching loss ``[N]`` of images, or of what clients would make of them."""
        if self.imitations is not None:
            images = self.imitations.batches(images, targets.argmax(-1))
        gradients = self._unbatched if self.alone and len(images) == 1 else self._batched
        seen = self.observation
        if not self.statistics:
            return self.matching(gradients(images, targets, *drawn), seen.gradients)
        if seen.statistics is None:
            raise ValueError("this observation holds no BatchNorm statistics")
        found, mine = gradients.with_statistics(images, targets, *drawn)
        gap = statistics_gap(mine, seen.statistics, first=self.first_statistics)
        return self.matching(found, seen.gradients) + self.statistics * gap

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        """One matching-gradient evaluation of all victims: costs ``[N]`` and their gradients ``[N, D]``."""
        cost, objective_gradient = costs_and_gradients(self.costs, point)
        if self.fading is not None and share:
            weight, prior, power = self.fading
            _, each = costs_and_gradients(lambda leaf: prior(self.parametrisation.decode(leaf)[0]), point)
            objective_gradient = objective_gradient + weight * share**power * each
        return cost, objective_gradient

    def select(self, rows: Tensor) -> Self:
        """The objective of some of the victims, in the order given."""
        return replace(
            self,
            observation=self.observation.select(rows),
            parametrisation=self.parametrisation.select(rows),
        )

    def attempt(self, number: int) -> Self:
        """The same, unless each attempt has a parametrisation of its own."""
        if self.again is None:
            return self
        return replace(self, parametrisation=self.again(self.observation, number))
