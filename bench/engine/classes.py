"""Class-wise inversion of a released classifier: latents of a generator, a row for each image of a class.

Rows share nothing, so neither the other classes nor their order change an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as mean_cross_entropy
from torch.nn.functional import one_hot

from bench.api.errors import IncompatibleError
from bench.engine.parametrise import starts

if TYPE_CHECKING:
    from torch import nn

    from bench.api.generator import ImageGenerator
    from bench.api.observation import GradientObservation
    from bench.api.released import ModelObservation
    from bench.api.smashed import SmashedObservation

    Seen = ModelObservation | GradientObservation | SmashedObservation

_NEAR_ONE = 0.9999
"""Of the target's coordinate: the point of a class on the very border is infinitely far away."""


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """-log of the softmax at the target, ``[M]`` in nats."""
    return mean_cross_entropy(scores, targets, reduction="none")


def poincare(scores: Tensor, targets: Tensor) -> Tensor:
    """Distance to the target in the Poincare ball, ``[M]`` (Struppek et al. 2022).

    Scores are divided by their sum of absolute values, and the class is the point 0.9999 on its axis. Unlike
    the cross-entropy its gradient does not vanish where the classifier is already sure.
    """
    where = scores / scores.abs().sum(1, keepdim=True).clamp_min(torch.finfo(scores.dtype).eps)
    wanted = _NEAR_ONE * one_hot(targets, scores.shape[1]).to(scores)
    room = (1 - where.square().sum(1)).clamp_min(torch.finfo(scores.dtype).eps) * (1 - _NEAR_ONE**2)
    return torch.acosh(1 + 2 * (where - wanted).square().sum(1) / room)


def target_probability(scores: Tensor, targets: Tensor) -> Tensor:
    """The softmax at the target, ``[M]``."""
    return scores.softmax(1).gather(1, targets[:, None])[:, 0]


def generator_of(observation: Seen) -> ImageGenerator:
    """The attacker's generator.

    Raises:
        IncompatibleError: there is none.
    """
    if observation.generator is None:
        raise IncompatibleError("the attack searches a generator, and this attacker has none")
    return observation.generator


def critic_of(generator: ImageGenerator) -> nn.Module:
    """The critic that the generator was trained against.

    Raises:
        IncompatibleError: there is none, as with an autoencoder.
    """
    if generator.critic is None:
        raise IncompatibleError("the attack asks a critic how real an image is, and its generator has none")
    return generator.critic


def start_latents(observation: Seen, *, seed: int, each: int = 1) -> Tensor:
    """Standard normal latents ``[N, B * each, Z]``, by (seed, class) alone.

    Args:
        observation: says how many, and of which generator.
        seed: of the draw.
        each: latents for each image; those of image b are the rows ``b * each`` and after.
    """
    prior = generator_of(observation)
    count = observation.batch_size * each
    like = next(prior.decoder.parameters())
    drawn = starts(observation.ids, count * prior.latent_size, seed=seed, like=like)
    return drawn.view(-1, count, prior.latent_size)
