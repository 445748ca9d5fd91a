"""What every victim architecture is."""

from __future__ import annotations

import torch
from torch import nn

Shape = tuple[int, int, int]
"""(C, H, W)"""


class VictimModel(nn.Module):
    """A classifier that knows how its weights are drawn at round 0."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights in place, on the generator's device."""
        raise NotImplementedError
