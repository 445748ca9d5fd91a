"""How well activations agree with a release, for an attacker who may know the defense."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.api import DefenseView, SmashedObservation

Match = Callable[[Tensor], Tensor]
"""``activations [N, B, *Z] -> [N]``."""

_NAME = "activations"


def matching(observation: SmashedObservation) -> tuple[Match, bool]:
    """The distance from what was released, and whether it is a likelihood in nats.

    A known density of the defense is its negative log-likelihood. Else it is the mean squared error, over the
    entries that carry information where the defense withholds some.
    """
    seen, view = observation.activations, observation.defense
    if view is not None and view.negative_log_likelihood is not None:
        likelihood = view.negative_log_likelihood
        return lambda made: likelihood({_NAME: made}, {_NAME: seen}), True
    if view is not None and view.transmitted is not None:
        mask = view.transmitted({_NAME: seen})[_NAME].to(seen)
        sent, gain = mask.flatten(1).sum(1).clamp_min(1), _gain(view, seen)
        return lambda made: (mask * (gain * made - seen)).square().flatten(1).sum(1) / sent, False
    return lambda made: (made - seen).square().flatten(1).mean(1), False


def _gain(view: DefenseView, like: Tensor) -> float:
    """By how much the defense scales what it does transmit, read off a release of ones."""
    if view.release is None:
        return 1.0
    released = view.release(torch.ones_like(like), torch.Generator().manual_seed(0))
    sent = released[released != 0]
    return sent.mean().item() if sent.numel() else 1.0
