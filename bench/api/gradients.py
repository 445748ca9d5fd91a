"""Gradients of many releases, and the loss that they are gradients of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from bench.api.threat import ThreatModel

Gradients = Mapping[str, Tensor]
"""Parameter name -> ``[N, *parameter shape]``: the gradients of N releases."""

BatchLoss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor], Tensor]
"""``(weights, still, images [B, ...], targets [B, K]) -> scalar``: one client's loss.

``weights`` are those to be differentiated; ``still`` holds all weights, as constants.
"""

CrossEntropy = Callable[[Tensor, Tensor], Tensor]
"""``(scores [B, K], targets [B, K]) -> scalar``."""

LossOfBatch = Callable[[nn.Module, Tensor, Tensor, Tensor, CrossEntropy], Tensor]
"""``(model, images [B, ...], targets [B, K], drawn [B, ...], cross_entropy) -> scalar``: one client's loss.

The model has the weights to be differentiated. The cross-entropy that is handed over is the one to use: an
attacker's targets may be output errors, of which nothing but its gradient is right.
"""


class Observed(Protocol):
    """What a view may read of a :class:`~bench.api.observation.GradientObservation`, in its words."""

    @property
    def threat(self) -> ThreatModel:
        """Who attacks, and of how many images a release is."""

    @property
    def model(self) -> nn.Module:
        """The defended architecture."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Its weights."""

    @property
    def gradients(self) -> Gradients:
        """What was released."""

    @property
    def reference(self) -> Tensor:
        """A tensor of the device and type to compute with."""

    @property
    def victims(self) -> int:
        """N."""


@dataclass(frozen=True, kw_only=True)
class ClientLoss:
    """What N clients minimise in place of the cross-entropy of their model's scores.

    Attributes:
        of_batch: the loss of one client.
        drawn: ``[N, B, ...]``, what each client drew for each of its images; to an attacker what it takes for
            that.
        searched: only for attackers who search for what was drawn: ``[N, B, ...] -> drawn``, from unknowns of
            the shape of ``drawn``, standard normal at the start of the search. None: ``drawn`` is all.
    """

    of_batch: LossOfBatch
    drawn: Tensor
    searched: Callable[[Tensor], Tensor] | None = None


def rows_of_each(value: Tensor) -> Tensor:
    """A gradient ``[N, ...]`` as a row ``[N, P]`` of each release; that of a scalar weight has one number."""
    return value.flatten(1) if value.dim() > 1 else value[:, None]
