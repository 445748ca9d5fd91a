"""Step 1 of KED-MI: a GAN that learns from the victim which of its images matter (inversion-specific GAN)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import ImageGenerator
from bench.attacks.kedmi.networks import Discriminator

_PENALTY = 10.0


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How the attacker's GAN is trained further.

    Attributes:
        learning_rate: of Adam, for both networks.
        batch: images per step.
        entropy: weight of the entropy of the predicted labels of drawn images.
    """

    learning_rate: float
    batch: int
    entropy: float

    def train(
        self,
        prior: ImageGenerator,
        discriminator: Discriminator,
        victim: nn.Module,
        images: Tensor,
        *,
        rounds: int,
        generator: torch.Generator,
    ) -> nn.Module:
        """Alternates steps of the discriminator and of a copy of the decoder.

        Args:
            prior: where the decoder begins; it stays as it is.
            discriminator: trained in place.
            victim: its answers to ``images`` are the soft labels.
            images: unlabelled, ``[M, C, H, W]``.
            rounds: steps of each network.
            generator: of batches and noise, on the CPU.

        Returns:
            The decoder, in evaluation mode: its BatchNorm statistics stay those of the first training.
        """
        decoder = deepcopy(prior.decoder).eval().requires_grad_(True)
        judge, maker = (
            torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=(0.5, 0.999))
            for network in (discriminator, decoder)
        )
        for _ in range(rounds):
            chosen = torch.randint(len(images), (self.batch,), generator=generator)
            latents = torch.randn(2, self.batch, prior.latent_size, generator=generator).to(images)
            share = torch.rand(self.batch, 1, 1, 1, generator=generator).to(images)
            real = images[chosen.to(images.device)]
            with torch.no_grad():
                fake, answers = decoder(latents[0]), victim(real).softmax(1)
            values, labels = discriminator(real)
            wrong = nn.functional.cross_entropy(labels, answers)
            distance = values.mean() - discriminator(fake)[0].mean()
            _step(judge, wrong - distance + _PENALTY * discriminator.penalty(real, fake, share))
            values, labels = discriminator(decoder(latents[1]))
            _step(maker, self.entropy * _entropy(labels) - values.mean())
        discriminator.requires_grad_(False)
        return decoder.requires_grad_(False)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _entropy(scores: Tensor) -> Tensor:
    """Mean entropy of the softmax, in nats: the victim's training images get sure labels."""
    return -(scores.softmax(1) * scores.log_softmax(1)).sum(1).mean()
