"""The attacker's networks: a decoder that undoes a client's half, and a critic of its activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 64
Shape = tuple[int, int, int]


class Decoder(nn.Module):
    """Activations ``[M, *code]`` -> images ``[M, *image]`` in [0, 1]: doubled until they are large enough."""

    def __init__(self, code: Shape, image: Shape) -> None:
        """Takes feature maps, and gives images, both (C, H, W)."""
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(code[0], _WIDTH, 3, padding=1), nn.ReLU()]
        side = code[1]
        while side < image[1]:
            layers += [nn.ConvTranspose2d(_WIDTH, _WIDTH, 4, stride=2, padding=1), nn.ReLU()]
            side *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(_WIDTH, image[0], 3, padding=1), nn.Sigmoid())
        self.size = image[1:]

    def forward(self, codes: Tensor) -> Tensor:
        """Images of exactly the wanted size: what the doubling adds to it is cut off."""
        images: Tensor = self.layers(codes)
        return images[..., : self.size[0], : self.size[1]]


class Critic(nn.Module):
    """Activations ``[M, *code]`` -> scores ``[M]``, larger for those that it takes for the pilot's.

    Without normalisation, for the penalty on the gradient is one of each sample (Gulrajani et al. 2017).
    """

    def __init__(self, code: Shape) -> None:
        """Takes feature maps (C, H, W)."""
        super().__init__()
        channels, height, width = code
        layers: list[nn.Module] = []
        for stride in (1, 2, 2):
            layers += [nn.Conv2d(channels, _WIDTH, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)]
            channels, height, width = _WIDTH, -(-height // stride), -(-width // stride)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(_WIDTH * height * width, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """Scores without a scale."""
        scores: Tensor = self.layers(codes)
        return scores[:, 0]

    def penalty(self, real: Tensor, sent: Tensor, share: Tensor) -> Tensor:
        """Mean squared difference of the gradient's norm from 1, on lines between two batches ``[M, *code]``.

        Args:
            real: the pilot's codes.
            sent: the clients' activations.
            share: ``[M]`` in [0, 1], where on its line each sample lies.
        """
        where = sent.lerp(real, share.view(-1, *[1] * (real.ndim - 1))).requires_grad_()
        (gradient,) = torch.autograd.grad(self(where).sum(), where, create_graph=True)
        norm: Tensor = gradient.flatten(1).norm(dim=1)
        return (norm - 1).square().mean()


def draw(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal weights and zero biases, drawn by the generator."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
