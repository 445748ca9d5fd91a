"""Images from a generator: its latents are the unknowns (GGL), or afterwards its weights (GIAS)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.api.observation import GradientObservation
from bench.engine.batch_labels import private_labels
from bench.engine.classes import generator_of
from bench.engine.gradients import one_hot
from bench.engine.labels import assumed
from bench.engine.matching import MATCHINGS, Loss, Matching, in_nats
from bench.engine.objective import Guide, Objective
from bench.engine.parametrise import Parametrisation
from bench.engine.priors import latent_divergence


@dataclass(frozen=True)
class Latents(Parametrisation):
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

    def start(self, ids: Tensor, *, seed: int, like: Tensor) -> Tensor:
        """The mean of what the generator was trained on."""
        return like.new_zeros(len(ids), self.size)

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
class GeneratorWeights(Parametrisation):
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

    def start(self, ids: Tensor, *, seed: int, like: Tensor) -> Tensor:
        """The generator's weights as everybody's unknowns, ``[N, D]``."""
        flat = torch.cat([value.detach().flatten() for value in self.generator.parameters()])
        return flat.repeat(len(ids), 1)

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


def distance(name: str, observation: GradientObservation) -> Loss:
    """The matching loss that an attack's parameter names.

    Args:
        name: a key of :data:`~bench.engine.matching.MATCHINGS`; or ``auto``: each tensor's own cosine where a
            transform of the clients' inputs is known, else the one of all layers together.
        observation: says whether it is.
    """
    view = observation.defense
    if name == "auto":
        name = "cosine" if view is None or view.transform is None else "tensors"
    return MATCHINGS[name]


def latent_objective(
    observation: GradientObservation, matching: Matching, loss: Loss, *, kl: float, kl_nats: float
) -> Objective:
    """What GGL minimises over the latents (Li et al. 2022, Eq. 3); the labels are given or inferred.

    Args:
        observation: with a generator.
        matching: how the adaptive attacker compares gradients.
        loss: how it would without a likelihood: where there is one, this is the guide of a random search.
        kl: weight of :func:`~bench.engine.priors.latent_divergence` beside a distance.
        kl_nats: the same beside a likelihood.
    """
    prior = generator_of(observation)
    labels = assumed(observation, private_labels(observation))
    targets = one_hot(labels, observation.num_classes, observation.reference.dtype)
    latents = Latents(prior.decoder, prior.latent_size, targets)

    def moments(point: Tensor) -> Tensor:
        return latent_divergence(point.unflatten(1, (-1, prior.latent_size)))

    beside = ((kl, moments),)
    if not in_nats(observation):
        return Objective(observation, latents, matching, penalties=beside)
    guide = Guide(loss(None), beside)
    return Objective(observation, latents, matching, penalties=((kl_nats, moments),), guide=guide)
