"""A conditional generator, and the game by which it and a discriminator learn what each class looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import ImageGenerator, IncompatibleError
from bench.attacks.kedmi.networks import Discriminator
from bench.engine import critic_of

COST_OF_A_ROUND = 2
"""A step of the discriminator and one of the generator."""
PENALTY = 10.0


class Conditional(nn.Module):
    """A decoder whose BatchNorm layers have a gain and a bias of their own for each class.

    It begins as the decoder that it is made of, which knows no classes.
    """

    def __init__(self, decoder: nn.Module, num_classes: int) -> None:
        """Copies the decoder; the one given stays as it is.

        Args:
            decoder: latents ``[M, Z]`` -> images; its BatchNorm statistics stay those of its own training.
            num_classes: K.

        Raises:
            IncompatibleError: the decoder has no BatchNorm layer.
        """
        super().__init__()
        self.decoder = deepcopy(decoder).eval().requires_grad_(True)
        layers = [
            layer for layer in self.decoder.modules() if isinstance(layer, nn.modules.batchnorm._NormBase)
        ]
        if not layers:
            raise IncompatibleError("the decoder has no BatchNorm layer, which a class could change")
        like = next(self.decoder.parameters())
        sizes = [layer.num_features for layer in layers]
        self.gains = nn.ParameterList(like.new_zeros(num_classes, size) for size in sizes)
        self.biases = nn.ParameterList(like.new_zeros(num_classes, size) for size in sizes)
        self._labels: Tensor | None = None
        for place, layer in enumerate(layers):
            layer.register_forward_hook(partial(self._modulate, place))

    def _modulate(self, place: int, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        assert self._labels is not None
        gain, bias = self.gains[place][self._labels], self.biases[place][self._labels]
        shape = (*gain.shape, *[1] * (output.dim() - 2))
        changed: Tensor = output * (1 + gain.view(shape)) + bias.view(shape)
        return changed

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` of latents ``[M, Z]`` and classes ``[M]``."""
        self._labels = labels
        images: Tensor = self.decoder(latents)
        self._labels = None
        return images


class Game(ABC):
    """A generator and a discriminator that begin as the attacker's Wasserstein GAN and learn classes.

    Attributes:
        decoder: the conditional generator.
        discriminator: how real an image is, and a score of each class.
    """

    def __init__(self, prior: ImageGenerator, num_classes: int, *, generator: torch.Generator) -> None:
        """Copies both networks.

        Args:
            prior: a decoder with BatchNorm, and its critic.
            num_classes: K.
            generator: draws the discriminator's new head, and what :meth:`play` draws; on the CPU.
        """
        self.decoder = Conditional(prior.decoder, num_classes)
        self.discriminator = Discriminator(critic_of(prior), num_classes, generator)
        self._sizes = (num_classes, prior.latent_size)
        self._generator = generator

    @abstractmethod
    def discriminator_loss(self, real: Tensor, real_labels: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """What the discriminator minimises, but for the gradient penalty.

        Args:
            real: images ``[M, C, H, W]`` of the attacker.
            real_labels: their classes ``[M]``, by the victim.
            fake: drawn images ``[M, C, H, W]``, without a graph.
            labels: the classes ``[M]`` that they were drawn for.
        """

    @abstractmethod
    def generator_loss(self, fake: Tensor, labels: Tensor) -> Tensor:
        """What the generator minimises."""

    def realness(self, images: Tensor, labels: Tensor) -> Tensor:
        """The values ``[M]`` whose gradient the penalty holds at norm 1."""
        values: Tensor = self.discriminator(images)[0]
        return values

    def play(self, images: Tensor, labels: Tensor, *, rounds: int, batch: int, rate: float) -> Conditional:
        """Steps of the discriminator and of the generator in turn; returns the generator, as it ends.

        Args:
            images: of the attacker, ``[R, C, H, W]``.
            labels: int64 ``[R]``.
            rounds: steps of each network.
            batch: images of a step.
            rate: of Adam, for both.
        """
        judging, drawing = (
            torch.optim.Adam(network.parameters(), lr=rate, betas=(0.0, 0.9))
            for network in (self.discriminator, self.decoder)
        )
        for _ in range(rounds):
            chosen = torch.randint(len(images), (batch,), generator=self._generator).to(images.device)
            share = torch.rand(batch, 1, 1, 1, generator=self._generator).to(images)
            with torch.no_grad():
                fake, wanted = self.draw(batch, images)
            loss = self.discriminator_loss(images[chosen], labels[chosen], fake, wanted)
            _step(judging, loss + PENALTY * self._penalty(torch.lerp(fake, images[chosen], share), wanted))
            _step(drawing, self.generator_loss(*self.draw(batch, images)))
        self.discriminator.requires_grad_(False)
        return self.decoder.requires_grad_(False)

    def draw(self, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Images of random latents and classes, and these classes."""
        num_classes, latent_size = self._sizes
        latents = torch.randn(count, latent_size, generator=self._generator).to(like)
        labels = torch.randint(num_classes, (count,), generator=self._generator).to(like.device)
        return self.decoder(latents, labels), labels

    def _penalty(self, between: Tensor, labels: Tensor) -> Tensor:
        """How far the gradient's norm is from 1 (Gulrajani et al. 2017, Eq. 3)."""
        between.requires_grad_()
        value = self.realness(between, labels).sum()
        (gradient,) = torch.autograd.grad(value, between, create_graph=True)
        gap: Tensor = gradient.flatten(1).norm(dim=1) - 1
        return gap.square().mean()


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
