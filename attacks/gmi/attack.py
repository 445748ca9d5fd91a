"""GMI, generative model inversion (Zhang, Jia, Pei, Wang, Li, Song, CVPR 2020)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from bench.api import ModelAttack, ModelObservation, Reconstruction
from bench.engine import (
    Descent,
    critic_of,
    cross_entropy,
    generator_of,
    in_parts,
    start_latents,
    target_probability,
)


class GMI(ModelAttack):
    """Searches a GAN's latents for images that are real to its critic and of the class to the victim."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        learning_rate: float = 1e-2,
        momentum: float = 0.9,
        identity: float = 100.0,
        box: float = 1.0,
        iterations: int = 150,
        restarts: int = 3,
    ) -> None:
        """Sets the schedule, the weight of the class and the bound of a latent; the generator is given."""
        steps = partial(torch.optim.SGD, lr=learning_rate, momentum=momentum, nesterov=True)
        self.optimiser = Descent(steps)
        self.identity = identity
        self.box = box
        self.iterations = iterations
        self.restarts = restarts

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """Several starts for each image, of which the one that the victim is surest of is kept.

        Raises:
            IncompatibleError: there is no generator with a critic.
        """
        return self.aimed(observation, observation.targets, budget=budget, seed=seed)

    def aimed(
        self, observation: ModelObservation, targets: Tensor, *, budget: int, seed: int
    ) -> Reconstruction:
        """The same for any classes.

        Args:
            observation: what the attacker has.
            targets: int64 ``[N]``, the classes to be searched for.
            budget: evaluations per image.
            seed: of the starts.
        """
        prior = generator_of(observation)
        critic, model = critic_of(prior), observation.model
        restarts = min(self.restarts, budget)
        iterations = min(self.iterations, budget // restarts)
        shape = (observation.victims, observation.batch_size, restarts)
        begin = start_latents(observation, seed=seed, each=restarts)
        rows = targets[:, None, None].expand(shape).flatten()

        def cost(latents: Tensor, wanted: Tensor) -> Tensor:
            """``-D(G(z)) + weight * cross-entropy``, the prior loss and the identity loss."""
            images = prior.decoder(latents)
            unreal: Tensor = -critic(images)
            return unreal + self.identity * cross_entropy(model(images), wanted)

        def search(latents: Tensor, wanted: Tensor) -> Tensor:
            found = self.optimiser.minimise(
                lambda point: cost(point, wanted),
                latents,
                evaluations=torch.full_like(wanted, iterations),
                project=lambda point: point.clamp(-self.box, self.box),
            )
            return found.point

        found = in_parts(search, begin.flatten(0, 1), rows)
        with torch.no_grad():
            images = in_parts(prior.decoder, found)
            sure = in_parts(lambda some, wanted: target_probability(model(some), wanted), images, rows)
            best = sure.view(shape).argmax(2) + restarts * torch.arange(
                shape[0] * shape[1], device=rows.device
            ).view(shape[:2])
            costs = in_parts(cost, found, rows)
        return Reconstruction(
            images=images[best],
            cost=costs[best].mean(1),
            evaluations=torch.full_like(targets, restarts * iterations),
            labels=targets[:, None].repeat(1, shape[1]),
        )
