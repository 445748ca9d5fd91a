"""Matching losses: how far a dummy batch's gradients are from the observed ones, per victim.

A matching loss is a callable ``(candidate, observed) -> [N]``; lower is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api.observation import GradientObservation, Gradients

Matching = Callable[[Gradients, Gradients], Tensor]
Transmitted = Callable[[Gradients], Gradients]


def flat(gradients: Gradients) -> Tensor:
    """All layers of each victim in one row: ``[N, P]``."""
    return torch.cat([value.flatten(1) for value in gradients.values()], dim=1)


def _masked(
    candidate: Gradients, observed: Gradients, transmitted: Transmitted | None
) -> tuple[Tensor, Tensor]:
    left, right = flat(candidate), flat(observed)
    if transmitted is None:
        return left, right
    mask = flat(transmitted(observed))
    return left * mask, right * mask


@dataclass(frozen=True)
class Euclidean:
    """Squared Euclidean distance over all layers, relative to the observed energy.

    DLG's objective (Zhu et al. 2019, Eq. 4) divided by ``||g*||^2``, which moves no minimum and makes one
    stopping rule serve networks and checkpoints whose gradients differ by orders of magnitude.

    Attributes:
        transmitted: restricts the sum to the entries that carry information.
    """

    transmitted: Transmitted | None = None

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]``; 1 for a candidate of zeros."""
        left, right = _masked(candidate, observed, self.transmitted)
        energy = right.square().sum(1).clamp_min(torch.finfo(right.dtype).tiny)
        return (left - right).square().sum(1) / energy


@dataclass(frozen=True)
class Cosine:
    """One minus the cosine of all layers concatenated (Geiping et al. 2020, Eq. 4).

    Attributes:
        transmitted: restricts both vectors to the entries that carry information.
    """

    transmitted: Transmitted | None = None

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]`` in [0, 2]."""
        left, right = _masked(candidate, observed, self.transmitted)
        tiny = torch.finfo(right.dtype).tiny
        norms = (left.square().sum(1) * right.square().sum(1)).clamp_min(tiny).sqrt()
        return 1 - (left * right).sum(1) / norms


def incomplete(observation: GradientObservation) -> bool:
    """Whether a known defense keeps something of the gradient back, so that a prior on images must help."""
    view = observation.defense
    if view is None:
        return False
    return view.negative_log_likelihood is not None or view.transmitted is not None


def informed(
    observation: GradientObservation, default: Callable[[Transmitted | None], Matching]
) -> tuple[Matching, bool]:
    """The matching loss of an attacker who uses all that it knows about the defense.

    Balunovic et al. (ICLR 2022): the optimal objective is the likelihood of the observation under the known
    defense. Without a density, the attack's own loss is kept and looks only at transmitted entries.

    Args:
        observation: a naive attacker's has no view of the defense.
        default: the attack's own loss, given which entries to look at.

    Returns:
        The loss, and whether it is a negative log-likelihood in nats.
    """
    view = observation.defense
    if view is None:
        return default(None), False
    if view.negative_log_likelihood is not None:
        return view.negative_log_likelihood, True
    return default(view.transmitted), False
