"""What a generator draws for somebody who has not looked at the release: the floor of generative attacks."""

from __future__ import annotations

import torch

from bench.api import (
    BaseAttack,
    GradientObservation,
    ModelObservation,
    Reconstruction,
    SmashedObservation,
)
from bench.engine import generator_of, in_parts, start_latents

Seen = GradientObservation | SmashedObservation | ModelObservation


class GeneratorSample(BaseAttack[Seen]):
    """One latent from N(0, 1) per image, and no search."""

    def __init__(self, *, generator: str = "wgan_gp", draw: int = 0) -> None:
        """Sets which of many independent draws this is; the generator is given."""
        self.draw = draw

    @torch.no_grad()
    def reconstruct(self, observation: Seen, *, budget: int, seed: int) -> Reconstruction:
        """Independent samples for every image of every release; spends no evaluation.

        Raises:
            IncompatibleError: there is no generator.
        """
        latents = start_latents(observation, seed=seed + self.draw)
        images = in_parts(generator_of(observation).decoder, latents.flatten(0, 1))
        spent = torch.zeros_like(observation.ids)
        return Reconstruction(
            images=images.unflatten(0, latents.shape[:2]), cost=spent.float(), evaluations=spent
        )
