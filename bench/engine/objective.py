"""The cost of every victim's dummy batch, and its gradient, in one graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from bench.api.observation import GradientObservation
from bench.api.threat import BatchNorm
from bench.engine.gradients import GradientMap, cross_entropy, gradient_map, logit_gradient_loss
from bench.engine.matching import Matching
from bench.engine.parametrise import Parametrisation
from bench.engine.priors import PerVictim, Prior
from bench.engine.transforms.imitated import Imitations


@dataclass(frozen=True)
class Objective:
    """Matching loss plus weighted priors, as a function of the unknowns.

    Attributes:
        observation: the releases to match.
        parametrisation: unknowns -> images and targets.
        matching: distance of gradients.
        priors: pairs of weight and prior on the images.
        penalties: pairs of weight and cost on the unknowns themselves, ``point [N, D] -> [N]``.
        imitations: of what clients turn their images into, where it is known that they do.
    """

    observation: GradientObservation
    parametrisation: Parametrisation
    matching: Matching
    priors: tuple[tuple[float, Prior], ...] = ()
    penalties: tuple[tuple[float, Prior], ...] = ()
    imitations: Imitations | None = None

    @cached_property
    def _gradients(self) -> GradientMap:
        seen = self.observation
        evaluating = seen.threat.batch_norm is BatchNorm.EVAL
        return gradient_map(
            seen.model,
            seen.parameters,
            per_victim_weights=seen.per_victim_weights,
            loss=logit_gradient_loss if self.parametrisation.errors_told else cross_entropy,
            statistics=seen.statistics if evaluating else None,
            batch_loss=seen.loss,
            names=seen.gradients,
        )

    def costs(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Matching loss and total cost, ``[N]`` each, differentiable in ``point [N, D]``."""
        images, targets = self.parametrisation.decode(point)
        match = self._matched(images, targets)
        total = match
        for weight, prior in self.priors:
            total = total + weight * prior(images)
        for weight, penalty in self.penalties:
            total = total + weight * penalty(point)
        return match, total

    def _matched(self, images: Tensor, targets: Tensor) -> Tensor:
        """The matching loss ``[N]`` of images, or of what clients would make of them."""
        if self.imitations is not None:
            images = self.imitations.batches(images, targets.argmax(-1))
        return self.matching(self._gradients(images, targets), self.observation.gradients)

    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """One matching-gradient evaluation of all victims.

        Args:
            point: ``[N, D]``.

        Returns:
            The cost ``[N]`` and its gradient ``[N, D]``, both detached.
        """
        leaf = point.detach().requires_grad_()
        with torch.enable_grad():
            _, total = self.costs(leaf)
            # Victims share no unknowns: the gradient of the sum holds each victim's own gradient.
            (slope,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), slope

    def select(self, victims: Tensor) -> Self:
        """The objective of some of the victims, in the order given."""
        return replace(
            self,
            observation=self.observation.select(victims),
            parametrisation=self.parametrisation.select(victims),
            priors=tuple(
                (weight, prior.select(victims) if isinstance(prior, PerVictim) else prior)
                for weight, prior in self.priors
            ),
        )
