"""Inverse network: a decoder from activations to images (He, Zhang, Lee, ACSAC 2019)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from bench.api import IncompatibleError, Reconstruction, SmashedAttack, SmashedObservation
from bench.attacks.inverse_network.decoder import Decoder
from bench.attacks.inverse_network.pairs import Pairs

_AT_ONCE = 250


class InverseNetwork(SmashedAttack):
    """Asks the client's half for the activations of images it owns, and learns the way back (black box)."""

    def __init__(
        self,
        *,
        learning_rate: float = 3e-3,
        steps: int = 600,
        images_per_step: int = 32,
        width: int = 32,
    ) -> None:
        """Sets the training, and the channels of the decoder's first layer."""
        self.learning_rate = learning_rate
        self.steps = steps
        self.images_per_step = images_per_step
        self.width = width

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """One decoder for all victims; each step of its training counts as an evaluation of each.

        Raises:
            IncompatibleError: the client answers no queries, or the attacker owns no images.
        """
        if observation.query is None:
            raise IncompatibleError("an inverse network learns from the client's answers, and it gives none")
        if observation.auxiliary is None or not len(observation.auxiliary):
            raise IncompatibleError("an inverse network learns from auxiliary images, and there are none")
        steps = min(budget, self.steps)
        pairs = Pairs.of(observation, observation.query, observation.auxiliary, seed=seed)
        decoder, error = self._trained(pairs, observation.image_shape, steps, seed)
        with torch.no_grad():
            seen = observation.activations.flatten(0, 1)
            images = torch.cat([decoder(part) for part in seen.split(_AT_ONCE)]).clamp(0, 1)
        return Reconstruction(
            images=images.unflatten(0, (observation.victims, observation.batch_size)),
            cost=error.expand(observation.victims).clone(),
            evaluations=torch.full_like(observation.ids, steps),
        )

    def _trained(
        self, pairs: Pairs, image_shape: tuple[int, int, int], steps: int, seed: int
    ) -> tuple[Decoder, Tensor]:
        """Minimises the mean squared error of images with Adam, whose rate falls to zero.

        Returns:
            The decoder, and its mean error on the last tenth of its steps: all that an attacker who has
            learned from one release knows of how well it will do.
        """
        generator = torch.Generator(device=pairs.images.device).manual_seed(seed)
        decoder = Decoder.drawn(pairs.activations, image_shape, width=self.width, seed=seed)
        optimiser = torch.optim.Adam(decoder.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, steps))
        errors = [pairs.images.new_tensor(torch.inf)]
        for index in pairs.batches(steps, self.images_per_step, generator):
            activations, images = pairs.draw(index, generator)
            optimiser.zero_grad()
            error = mse_loss(decoder(activations), images)
            error.backward()
            optimiser.step()
            schedule.step()
            errors.append(error.detach())
        return decoder, torch.stack(errors[-max(1, steps // 10) :]).mean()
