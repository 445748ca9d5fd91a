"""How well activations agree with a release, for an attacker who may know the defense."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bench.api import SmashedObservation
from bench.engine.transforms.transmission import ACTIVATIONS, transmission_gain

Match = Callable[[Tensor], Tensor]
"""``activations [N, B, *Z] -> [N]``."""


def matching(observation: SmashedObservation) -> Match:
    """The mean squared error, over the entries that carry information where the defense withholds some.

    A known likelihood of the noise is not used: it takes all that is left for noise, where most of it is the
    shadow's own error, and leaves the prior next to nothing to say.
    """
    seen, view = observation.activations, observation.defense
    if view is None or view.transmitted is None:
        return lambda made: (made - seen).square().flatten(1).mean(1)
    mask = view.transmitted({ACTIVATIONS: seen})[ACTIVATIONS].to(seen)
    sent, gain = mask.flatten(1).sum(1).clamp_min(1), transmission_gain(view, seen)
    return lambda made: (mask * (gain * made - seen)).square().flatten(1).sum(1) / sent
