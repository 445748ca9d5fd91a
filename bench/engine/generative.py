"""Images from a generator: its latents are the unknowns (GGL), or afterwards its weights (GIAS)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


@dataclass(frozen=True)
class Latents:
    """One latent per image; the generator is fixed (Li et al. 2022, Eq. 3).

    Attributes:
        generator: ``[M, Z] -> [M, C, H, W]`` in [0, 1], in evaluation mode.
        latent_size: Z.
        targets: ``[N, B, K]``.
    """

    generator: nn.Module
    latent_size: int
    targets: Tensor

    @property
    def size(self) -> int:
        """B * Z."""
        return self.targets.shape[1] * self.latent_size

    def latents(self, point: Tensor) -> Tensor:
        """``[N, B * Z] -> [N, B, Z]``."""
        return point.view(len(point), self.targets.shape[1], self.latent_size)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, B * Z]`` -> images ``[N, B, C, H, W]``, the fixed targets."""
        drawn: Tensor = self.generator(self.latents(point).flatten(0, 1))
        return drawn.view(*self.targets.shape[:2], *drawn.shape[1:]), self.targets

    def select(self, victims: Tensor) -> Self:
        """The targets of some of the victims."""
        return type(self)(self.generator, self.latent_size, self.targets[victims])


@dataclass(frozen=True)
class GeneratorWeights:
    """The generator's own weights, one set per victim; latents are fixed (Jeon et al. 2021, Eq. 5).

    Attributes:
        generator: as in :class:`Latents`; its weights are where every victim starts.
        latents: ``[N, B, Z]``.
        targets: ``[N, B, K]``.
    """

    generator: nn.Module
    latents: Tensor
    targets: Tensor

    @property
    def size(self) -> int:
        """The number of the generator's weights."""
        return sum(value.numel() for value in self.generator.parameters())

    def start(self) -> Tensor:
        """The generator's weights as everybody's unknowns, ``[N, D]``."""
        flat = torch.cat([value.detach().flatten() for value in self.generator.parameters()])
        return flat.repeat(len(self.targets), 1)

    def decode(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, D]`` -> images ``[N, B, C, H, W]``, the fixed targets."""
        shapes = {name: value.shape for name, value in self.generator.named_parameters()}
        parts = point.split([prod(shape) for shape in shapes.values()], dim=1)
        weights = {
            name: part.unflatten(1, shape) if shape else part.squeeze(1)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

        def one(own: dict[str, Tensor], latents: Tensor) -> Tensor:
            images: Tensor = functional_call(self.generator, own, (latents,))
            return images

        images: Tensor = vmap(one)(weights, self.latents)
        return images, self.targets

    def select(self, victims: Tensor) -> Self:
        """Latents and targets of some of the victims."""
        return type(self)(self.generator, self.latents[victims], self.targets[victims])
