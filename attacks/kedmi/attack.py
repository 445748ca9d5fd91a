"""KED-MI, knowledge-enriched distributional inversion (Chen, Kahla, Jia, Qi, ICCV 2021)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from bench.api import IncompatibleError, ModelAttack, ModelObservation, Reconstruction
from bench.attacks.kedmi.networks import Discriminator
from bench.attacks.kedmi.specific import Distillation
from bench.engine import Descent, critic_of, cross_entropy, generator_of, start_latents

_COST_OF_A_ROUND = 2
"""A step of the discriminator and one of the decoder."""


class KEDMI(ModelAttack):
    """Trains a GAN further by the victim's answers, then fits a distribution of latents to each class."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        learning_rate: float = 2e-2,
        identity: float = 100.0,
        iterations: int = 150,
        training_share: float = 0.1,
        training_rate: float = 2e-4,
        batch: int = 32,
        entropy: float = 0.1,
    ) -> None:
        """Sets the recovery, and the training of the GAN before it; the generator it begins with is given."""
        self.optimiser = Descent(partial(torch.optim.Adam, lr=learning_rate))
        self.identity = identity
        self.iterations = iterations
        self.training_share = training_share
        self.distillation = Distillation(learning_rate=training_rate, batch=batch, entropy=entropy)

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """One GAN for all classes, one distribution for each, from which its B images are drawn.

        Raises:
            IncompatibleError: there is no generator with a critic, or there are no auxiliary images.
        """
        prior = generator_of(observation)
        if observation.images is None:
            raise IncompatibleError("the attack asks the victim about auxiliary images")
        rounds = int(self.training_share * budget) // _COST_OF_A_ROUND
        iterations = min(self.iterations, budget - rounds * _COST_OF_A_ROUND)
        chance = torch.Generator().manual_seed(seed)
        discriminator = Discriminator(critic_of(prior), observation.num_classes, chance)
        decoder = self.distillation.train(
            prior, discriminator, observation.model, observation.images, rounds=rounds, generator=chance
        )
        rows = observation.targets.repeat_interleave(observation.batch_size)

        def look(latents: Tensor) -> tuple[Tensor, Tensor]:
            """Images ``[N * B, C, H, W]`` and costs ``[N]`` of latents ``[N, B, Z]``."""
            images = decoder(latents.flatten(0, 1))
            unreal: Tensor = -discriminator.critic(images)
            cost = unreal + self.identity * cross_entropy(observation.model(images), rows)
            return images, cost.view(latents.shape[:2]).mean(1)

        noise = start_latents(observation, seed=seed, each=iterations + 1)
        noise = noise.unflatten(1, (observation.batch_size, iterations + 1))
        draws = iter(noise.unbind(2))
        begin = torch.zeros(observation.victims, 2, prior.latent_size).to(noise)
        steps = torch.full_like(observation.targets, iterations)
        found = self.optimiser.minimise(
            lambda point: look(_latents(point, next(draws)))[1], begin, evaluations=steps
        )
        with torch.no_grad():
            images, costs = look(_latents(found.point, next(draws)))
        return Reconstruction(
            images=images.unflatten(0, noise.shape[:2]),
            cost=costs,
            evaluations=torch.full_like(observation.targets, rounds * _COST_OF_A_ROUND + iterations),
            labels=rows.view(noise.shape[:2]),
        )


def _latents(point: Tensor, noise: Tensor) -> Tensor:
    """Latents ``[N, B, Z]`` of the distributions ``[N, 2, Z]``: mean + deviation * noise."""
    mean, log_variance = point[:, None, 0], point[:, None, 1]
    return mean + (log_variance / 2).exp() * noise
