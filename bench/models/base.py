"""What every victim architecture is."""

from __future__ import annotations

import torch
from torch import nn

Shape = tuple[int, int, int]
"""(C, H, W)"""


class VictimModel(nn.Module):
    """A classifier that knows how its weights are drawn at round 0.

    Attributes:
        shares_statistics: a client sends the statistics of its own batch along with what it releases.
    """

    shares_statistics: bool = False

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights in place, on the generator's device."""
        raise NotImplementedError


def halved(side: int, times: int) -> int:
    """What convolutions of stride 2, padded by half their kernel, leave of a side: each rounds up."""
    return -(-side // (1 << times))


def draw_kaiming(network: nn.Module, generator: torch.Generator) -> None:
    """Draws all convolutions and linear layers: Kaiming-normal weights, zero biases (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
