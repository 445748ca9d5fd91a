"""How a defense that withholds activations scales those that it sends."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.defense import DefenseView

ACTIVATIONS = "activations"
"""What the only tensor of a release of split learning is called."""


def transmission_gain(view: DefenseView, released: Tensor) -> float:
    """What is sent of activations that are all one, on average; 1 where the attacker cannot try it.

    Args:
        view: what the adaptive attacker knows.
        released: ``[N, B, *Z]``, a release; only its shape counts.
    """
    if view.release is None or view.transmitted is None:
        return 1.0
    generator = torch.Generator(device=released.device).manual_seed(0)
    trial = view.release(torch.ones_like(released), generator)
    sent = view.transmitted({ACTIVATIONS: trial})[ACTIVATIONS]
    return float(trial[sent].mean()) if sent.any() else 1.0
