"""A critic of activations or images: convolutions that halve the sides, without any normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 32
_SMALLEST = 4
_LARGE = 16
"""Sides beyond this are halved at once: the first layer would take most of the time."""


class Critic(nn.Module):
    """Samples ``[M, *Z]`` -> scores ``[M]``; flat ones count as maps of one pixel. LeakyReLU 0.2."""

    def __init__(self, shape: tuple[int, ...], *, width: int = _WIDTH) -> None:
        """Builds the network for samples of a shape."""
        super().__init__()
        self.shape = (*shape, 1, 1)[:3]
        channels, height, across = self.shape
        step = 2 if max(height, across) > _LARGE else 1
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, stride=step, padding=1), nn.LeakyReLU(0.2)]
        height, across = -(-height // step), -(-across // step)
        while max(height, across) > _SMALLEST:
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
            height, across = -(-height // 2), -(-across // 2)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * height * across, 1))

    @classmethod
    def drawn(cls, samples: Tensor, *, seed: int) -> Critic:
        """For samples like ``[M, *Z]``: Kaiming-normal weights and zero biases."""
        with torch.random.fork_rng(devices=[]):
            critic = cls(tuple(samples.shape[1:]))
        draw(critic, seed)
        return critic.to(samples)

    def forward(self, samples: Tensor) -> Tensor:
        """Scores without a scale, larger for what it takes for real."""
        scores: Tensor = self.layers(samples.reshape(-1, *self.shape))
        return scores[:, 0]

    def penalty(self, real: Tensor, made: Tensor, share: Tensor) -> Tensor:
        """Mean of ``(|grad D| - 1)^2`` on lines between two samples (Gulrajani et al. 2017, Eq. 3).

        Args:
            real: ``[M, *Z]``.
            made: ``[M, *Z]``.
            share: ``[M]`` in [0, 1], where on its line each point lies.
        """
        where = made.lerp(real, share.view(-1, *[1] * (real.ndim - 1))).requires_grad_()
        (gradient,) = torch.autograd.grad(self(where).sum(), where, create_graph=True)
        gap: Tensor = gradient.flatten(1).norm(dim=1) - 1
        return gap.square().mean()


def draw(network: nn.Module, seed: int) -> None:
    """Kaiming-normal weights and zero biases for every layer, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
