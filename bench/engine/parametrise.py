"""What is optimised: one flat row of unknowns per victim, decoded to images and label probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol, Self

import torch
from torch import Tensor

from bench.api.gradients import ClientLoss
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary
from bench.engine.gradients import one_hot


def starts(ids: Tensor, size: int, *, seed: int, like: Tensor) -> Tensor:
    """Standard normal starts ``[N, size]``, one stream per victim.

    Drawn on the CPU by (seed, victim), so that neither the neighbours, nor their order, nor the device
    change them.
    """
    rows = []
    for victim in ids.tolist():
        # A CPU generator looks at the lower 32 bits of its seed only.
        generator = torch.Generator().manual_seed((seed * 1_000_003 + victim) % 2**32)
        rows.append(torch.randn(size, generator=generator))
    return torch.stack(rows).to(like)


class Parametrisation(Protocol):
    """Decodes rows of unknowns."""

    @property
    def size(self) -> int:
        """D, unknowns per victim."""

    @property
    def errors_told(self) -> bool:
        """Whether all targets are output errors that are known, and not, as mostly, probabilities."""
        return False

    def start(self, ids: Tensor, *, seed: int, like: Tensor) -> Tensor:
        """Where a search begins, ``[N, D]``: standard normal, by (seed, victim)."""
        return starts(ids, self.size, seed=seed, like=like)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images ``[N, B, C, H, W]``, target probabilities ``[N, B, K]``."""

    def select(self, victims: Tensor) -> Self:
        """The parametrisation of some of the victims."""


@dataclass(frozen=True)
class PixelsAndLabels(Parametrisation):
    """Pixels and label logits together (DLG): labels are the softmax of their logits.

    Attributes:
        shape: (B, C, H, W).
        num_classes: K.
    """

    shape: tuple[int, ...]
    num_classes: int

    @classmethod
    def of(cls, observation: GradientObservation) -> Self:
        """The unknowns of an attacker who infers nothing beforehand."""
        return cls((observation.batch_size, *observation.image_shape), observation.num_classes)

    @property
    def size(self) -> int:
        """B * (C * H * W + K)."""
        return prod(self.shape) + self.shape[0] * self.num_classes

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images, label probabilities."""
        pixels, logits = point.split([prod(self.shape), self.shape[0] * self.num_classes], dim=1)
        images = pixels.unflatten(1, self.shape)
        return images, logits.unflatten(1, (self.shape[0], self.num_classes)).softmax(-1)

    def select(self, victims: Tensor) -> Self:
        """The same: nothing in it belongs to a victim."""
        return self


@dataclass(frozen=True)
class Pixels(Parametrisation):
    """Pixels only, for labels that were inferred beforehand.

    Attributes:
        shape: (B, C, H, W).
        targets: ``[N, B, K]``: probabilities, or negative output errors.
    """

    shape: tuple[int, ...]
    targets: Tensor

    @classmethod
    def of(cls, observation: GradientObservation, labels: Tensor) -> Self:
        """The unknowns of an attacker who has inferred ``labels [N, B]``."""
        return cls.told(observation, one_hot(labels, observation.num_classes, observation.reference.dtype))

    @classmethod
    def told(cls, observation: GradientObservation, targets: Tensor) -> Self:
        """The unknowns of an attacker who knows ``targets [N, B, K]``."""
        return cls((observation.batch_size, *observation.image_shape), targets)

    @property
    def size(self) -> int:
        """B * C * H * W."""
        return prod(self.shape)

    @cached_property
    def errors_told(self) -> bool:
        """Whether the targets of every victim here add up to zero."""
        return bool((self.targets.sum(-1).abs() < 0.5).all())

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images, the fixed targets."""
        return point.unflatten(1, self.shape), self.targets

    def select(self, victims: Tensor) -> Self:
        """The targets of some of the victims."""
        return type(self)(self.shape, self.targets[victims])


def assumed_loss(observation: GradientObservation) -> ClientLoss | None:
    """What an attacker takes for the clients' loss; None: the cross-entropy of the model's scores.

    Args:
        observation: a naive attacker's has no view of the defense.
    """
    if observation.threat.adversary is not Adversary.ADAPTIVE or observation.loss is not None:
        return None
    view = observation.defense
    return None if view is None or view.client_loss is None else view.client_loss(observation)


@dataclass(frozen=True)
class WithDraws(Parametrisation):
    """Other unknowns, and behind them those of what the clients drew.

    Attributes:
        inner: the others.
        shape: of a client's draws, (B, ...).
    """

    inner: Parametrisation
    shape: tuple[int, ...]

    @classmethod
    def of(cls, inner: Parametrisation, observation: GradientObservation) -> Parametrisation:
        """The unknowns of an attacker who may have to search for draws as well."""
        loss = assumed_loss(observation)
        if loss is None or loss.searched is None:
            return inner
        return cls(inner, tuple(loss.drawn.shape[1:]))

    @property
    def size(self) -> int:
        """Both together."""
        return self.inner.size + prod(self.shape)

    @property
    def errors_told(self) -> bool:
        """As of the others."""
        return self.inner.errors_told

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """As the others do."""
        return self.inner.decode(point[:, : self.inner.size])

    def draws(self, point: Tensor) -> Tensor:
        """The unknowns of the draws, ``[N, B, ...]``."""
        drawn: Tensor = point[:, self.inner.size :].unflatten(1, self.shape)
        return drawn

    def select(self, victims: Tensor) -> Self:
        """The unknowns of some of the victims."""
        return type(self)(self.inner.select(victims), self.shape)
