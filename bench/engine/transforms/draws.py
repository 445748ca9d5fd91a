"""What clients drew for losses of their own, as unknowns of a search beside the images."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

from torch import Tensor

from bench.api.gradients import ClientLoss
from bench.api.observation import GradientObservation
from bench.engine.parametrise import Parametrisation


def assumed_loss(observation: GradientObservation) -> ClientLoss | None:
    """What an attacker takes for the clients' loss; None: the cross-entropy of the model's scores.

    Args:
        observation: a naive attacker's has no view of the defense.
    """
    view = observation.defense
    if view is None or view.client_loss is None or observation.loss is not None:
        return None
    return view.client_loss(observation)


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
        return point[:, self.inner.size :].unflatten(1, self.shape)

    def select(self, victims: Tensor) -> Self:
        """The unknowns of some of the victims."""
        return type(self)(self.inner.select(victims), self.shape)
