"""The decoder: transposed convolutions from the size of the activations to that of the images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Shape = tuple[int, int, int]
_NARROWEST = 16


class Decoder(nn.Module):
    """A convolution, transposed convolutions that double the size until it is reached, a convolution; ReLU.

    Attributes:
        mean: of all activations learned from, a scalar.
        spread: their standard deviation. One for all channels: a channel that hardly moves by itself must not
            be blown up when a defense adds noise to it.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, activations: Tensor, image_shape: Shape, *, width: int) -> None:
        """Builds the network for activations like ``[M, *Z]``; flat ones count as maps of one pixel."""
        super().__init__()
        maps = _maps(activations)
        self.register_buffer("mean", maps.mean())
        self.register_buffer("spread", maps.std().clamp_min(1e-6))
        self.size = image_shape[1:]
        self.layers = nn.Sequential(*_layers(maps.shape[1:], image_shape, width))

    @classmethod
    def drawn(cls, activations: Tensor, image_shape: Shape, *, width: int, seed: int) -> Decoder:
        """A decoder with weights and biases of U(-1/sqrt(fan in), 1/sqrt(fan in)), PyTorch's default."""
        with torch.random.fork_rng(devices=[]):
            decoder = cls(activations, image_shape, width=width)
        generator = torch.Generator().manual_seed(seed)
        for layer in decoder.layers:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                bound = float(layer.weight[0].numel()) ** -0.5
                for values in layer.parameters():
                    nn.init.uniform_(values, -bound, bound, generator=generator)
        # Small convolutions spend their time on the order of numbers: with channels last it is not changed.
        return decoder.to(activations.device).to(memory_format=torch.channels_last)

    def forward(self, activations: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` of activations ``[M, *Z]``; near [0, 1], not clamped."""
        images: Tensor = self.layers((_maps(activations) - self.mean) / self.spread)
        if images.shape[2:] != self.size:
            images = interpolate(images, self.size, mode="bilinear", align_corners=False)
        return images


def _maps(activations: Tensor) -> Tensor:
    """``[M, *Z]`` as ``[M, c, h, w]``."""
    if activations.ndim == 4:
        return activations
    return activations.flatten(1)[:, :, None, None]


def _layers(maps: tuple[int, ...], image_shape: Shape, width: int) -> list[nn.Module]:
    channels, height, across = maps
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
    while height < image_shape[1] or across < image_shape[2]:
        narrower = max(_NARROWEST, width // 2)
        layers += [nn.ConvTranspose2d(width, narrower, 4, stride=2, padding=1), nn.ReLU()]
        width, height, across = narrower, 2 * height, 2 * across
    return [*layers, nn.Conv2d(width, image_shape[0], 3, padding=1)]
