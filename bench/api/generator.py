"""A generative prior: what an attacker has learned of how images look, from its own images alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True)
class ImageGenerator:
    """A generator that was trained on the auxiliary split and on nothing else; or whose decoder came trained.

    Such a decoder has seen other images, and none of the data set.

    Attributes:
        decoder: latents ``[M, Z]`` of a standard normal -> images ``[M, C, H, W]`` in [0, 1]; in evaluation
            mode, without gradients for its weights. One whose features can be searched has a method
            ``blocks()``, see :class:`~bench.engine.features.Layered`.
        latent_size: Z.
        critic: images ``[M, C, H, W]`` -> ``[M]``, higher where they look like auxiliary images; None for a
            generator that was trained without one.
    """

    decoder: nn.Module
    latent_size: int
    critic: nn.Module | None = None
