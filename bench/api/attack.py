"""The contract of an attack: observation in, reconstruction out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from bench.api.observation import GradientObservation
from bench.api.released import ModelObservation
from bench.api.smashed import SmashedObservation


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What an attack rebuilt from N releases.

    Attributes:
        images: float32 ``[N, B, C, H, W]``; clamped to [0, 1] before it is scored. A victim whose attack
            diverged may hold non-finite values: it is scored as such, not dropped.
        cost: ``[N]``, the attacker-visible cost of the chosen iterate (lower is better).
        evaluations: int64 ``[N]``, gradient evaluations spent on each release, restarts included.
        labels: int64 ``[N, B]``, the labels that belong to ``images`` (what was given, optimised or inferred;
            -1 for one that stayed unknown, which is scored as wrong), or None if the attack does not recover
            labels.
    """

    images: Tensor
    cost: Tensor
    evaluations: Tensor
    labels: Tensor | None = None


ObservationT = TypeVar("ObservationT", contravariant=True)


class BaseAttack(ABC, Generic[ObservationT]):
    """What all attacks are; hyper-parameters are keyword-only constructor arguments.

    They must be the ones that the plug-in's ``card.toml`` declares, with the same defaults. An attack on one
    channel derives from :class:`Attack`, :class:`SmashedAttack` or :class:`ModelAttack`, one that serves
    several from e.g. ``BaseAttack[GradientObservation | SmashedObservation]``.
    """

    @abstractmethod
    def reconstruct(self, observation: ObservationT, *, budget: int, seed: int) -> Reconstruction:
        """Rebuilds the private images of all N releases at once.

        Args:
            observation: all that this attacker may know.
            budget: matching evaluations per release that may be spent, restarts included: gradients of the
                dummy's cost, or steps of a network that the attack trains.
            seed: the only source of randomness; the same seed gives the same reconstruction.

        Raises:
            IncompatibleError: the combination cannot work, for the reason in the message.
        """


class Attack(BaseAttack[GradientObservation]):
    """An attack on the gradients of federated learning."""


class SmashedAttack(BaseAttack[SmashedObservation]):
    """An attack on the activations of split learning."""


class ModelAttack(BaseAttack[ModelObservation]):
    """An attack on a released classifier: N classes, B images of each."""


Reconstruct = Callable[..., Reconstruction]


def per_victim(reconstruct: Reconstruct) -> Reconstruct:
    """Decorates a ``reconstruct`` that can only handle one victim: the harness still calls it with N."""

    @wraps(reconstruct)
    def all_victims(self: Any, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        parts = [
            reconstruct(self, observation.select(torch.tensor([i])), budget=budget, seed=seed)
            for i in range(observation.victims)
        ]
        labels = [p.labels for p in parts if p.labels is not None]
        return Reconstruction(
            images=torch.cat([p.images for p in parts]),
            cost=torch.cat([p.cost for p in parts]),
            evaluations=torch.cat([p.evaluations for p in parts]),
            labels=torch.cat(labels) if labels else None,
        )

    return all_victims
