"""How well activations agree with a release, for an attacker who may know the defense."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.api import DefenseView, SmashedObservation

Match = Callable[[Tensor], Tensor]
"""``activations [N, B, *Z] -> [N]``."""

_NAME = "activations"


def matching(observation: SmashedObservation) -> Match:
    """The mean squared error, over the entries that carry information where the defense withholds some.

    A known likelihood of the noise is not used: it takes all that is left for noise, where most of it is the
    shadow's own error, and leaves the prior next to nothing to say.
    """
    seen, view = observation.activations, observation.defense
    if view is None or view.transmitted is None:
        return lambda made: (made - seen).square().flatten(1).mean(1)
    mask = view.transmitted({_NAME: seen})[_NAME].to(seen)
    sent, gain = mask.flatten(1).sum(1).clamp_min(1), _gain(view, seen)
    return lambda made: (mask * (gain * made - seen)).square().flatten(1).sum(1) / sent


def _gain(view: DefenseView, like: Tensor) -> float:
    """By how much the defense scales what it does transmit, read off a release of ones."""
    if view.release is None:
        return 1.0
    released = view.release(torch.ones_like(like), torch.Generator().manual_seed(0))
    sent = released[released != 0]
    return sent.mean().item() if sent.numel() else 1.0
