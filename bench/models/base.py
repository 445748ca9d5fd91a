"""What every victim architecture is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]
"""(C, H, W)"""


class VictimModel(nn.Module):
    """A classifier that knows how its weights are drawn at round 0.

    Attributes:
        shares_statistics: a client sends the statistics of its own batch along with what it releases.
        one_by_one: its gradients are computed for one victim after the other, as ``vmap`` cannot batch them.
        draws_buffers: round 0 draws buffers as well, so that they are stored with the weights.
    """

    shares_statistics: bool = False
    one_by_one: bool = False
    draws_buffers: bool = False

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights in place, on the generator's device."""
        raise NotImplementedError


def trainable(network: nn.Module) -> list[str]:
    """Names of the weights that clients train and release gradients of: those that require a gradient."""
    return [name for name, value in network.named_parameters() if value.requires_grad]


def public_state(network: nn.Module) -> dict[str, Tensor]:
    """Copies of all that everybody knows of a network at round 0, by name.

    Its weights, frozen ones as well; and where buffers are drawn, those of floating point.
    """
    state = {name: value.detach().clone() for name, value in network.named_parameters()}
    if any(isinstance(part, VictimModel) and part.draws_buffers for part in network.modules()):
        buffers = ((name, value) for name, value in network.named_buffers() if value.is_floating_point())
        state |= {name: value.detach().clone() for name, value in buffers}
    return state


class Layered(VictimModel):
    """A classifier that is one layer after the other, so that it may be cut in two between them."""

    def layers(self) -> list[nn.Module]:
        """All of them, in order."""
        raise NotImplementedError

    @staticmethod
    def draw(network: nn.Module, generator: torch.Generator) -> None:
        """Draws the weights of these layers, whatever module holds them."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[B, K]`` of images ``[B, C, H, W]`` in [0, 1]."""
        values = images
        for layer in self.layers():
            values = layer(values)
        return values

    def initialise(self, generator: torch.Generator) -> None:
        """See :meth:`draw`."""
        self.draw(self, generator)


def halved(side: int, times: int) -> int:
    """What convolutions of stride 2, padded by half their kernel, leave of a side: each rounds up."""
    return -(-side // (1 << times))


def draw_uniform(network: nn.Module, generator: torch.Generator) -> None:
    """Draws all convolutions and linear layers from U(-1/sqrt(fan in), 1/sqrt(fan in)), PyTorch's default."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = float(layer.weight[0].numel()) ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def draw_kaiming(network: nn.Module, generator: torch.Generator) -> None:
    """Draws all convolutions and linear layers: Kaiming-normal weights, zero biases (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
