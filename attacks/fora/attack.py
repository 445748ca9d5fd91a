"""FORA (Xu et al., CVPR 2024): a substitute client whose features look like the observed ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.api import Reconstruction, SmashedAttack, SmashedObservation
from bench.attacks.fora.critic import Critic
from bench.attacks.fora.discrepancy import discrepancy
from bench.attacks.fora.substitute import Substitute, known
from bench.attacks.inverse_network.attack import InverseNetwork

_COST_OF_A_ROUND = 2
"""A step of the critic, and one of the substitute."""


class FORA(SmashedAttack):
    """Has a substitute imitate the client by feature-level transfer, and learns the way back from it."""

    def __init__(
        self,
        *,
        substitute: str = "client",
        decoder_share: float = 0.3,
        mmd: float = 0.8,
        substitute_rate: float = 5e-3,
        critic_rate: float = 1e-3,
        penalty: float = 10.0,
        batch: int = 32,
        decoder_rate: float = 3e-3,
    ) -> None:
        """Sets the imitation of the client, and the share of the budget that trains the decoder."""
        self.own = substitute == "own"
        self.decoder_share = decoder_share
        self.mmd = mmd
        self.substitute_rate = substitute_rate
        self.critic_rate = critic_rate
        self.penalty = penalty
        self.batch = batch
        self.decoder_rate = decoder_rate

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """Trains the substitute, then the decoder on its answers, which undoes what was released.

        Raises:
            IncompatibleError: there are no auxiliary images.
        """
        substitute = Substitute.drawn(observation, seed=seed, own=self.own)
        rounds = int((1 - self.decoder_share) * budget) // _COST_OF_A_ROUND
        self._imitate(substitute, known(observation).activations, rounds, seed)
        substitute.half.requires_grad_(False)
        spent = rounds * _COST_OF_A_ROUND
        decoder = InverseNetwork(
            learning_rate=self.decoder_rate, steps=budget - spent, images_per_step=self.batch
        )
        answered = replace(observation, query=substitute.half)
        found = decoder.reconstruct(answered, budget=budget - spent, seed=seed)
        return replace(found, evaluations=found.evaluations + spent)

    def _imitate(self, substitute: Substitute, received: Tensor, rounds: int, seed: int) -> None:
        """The game of substitute and critic, on activations in units of their spread.

        The critic minimises ``mean D(substitute) - mean D(client) + penalty * (|grad D| - 1)^2``, the
        substitute ``(1 - a) * -mean D(substitute) / sqrt(Z) + a * MK-MMD^2(substitute, client)``: with a
        gradient of norm 1 the scores of Z entries grow as a distance does, and the discrepancy does not.
        """
        centre, spread = received.mean(), received.std().clamp_min(1e-6)
        critic = Critic.drawn(received, seed=seed + 1)
        of_critic = torch.optim.Adam(critic.parameters(), lr=self.critic_rate)
        of_substitute = torch.optim.Adam(substitute.half.parameters(), lr=self.substitute_rate)
        entries = received[0].numel()
        for _ in range(rounds):
            real = (_some(received, self.batch, substitute.generator) - centre) / spread
            made = (substitute.activations(substitute.draw(self.batch)) - centre) / spread
            still = made.detach()
            share = torch.rand(self.batch, generator=substitute.generator, device=made.device).to(made)
            of_critic.zero_grad()
            distance = critic(real).mean() - critic(still).mean()
            (self.penalty * critic.penalty(real, still, share) - distance).backward()
            of_critic.step()
            of_substitute.zero_grad()
            adversarial = -critic(made).mean() / entries**0.5
            (self.mmd * discrepancy(made, real) + (1 - self.mmd) * adversarial).backward()
            of_substitute.step()


def _some(rows: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (size,), generator=generator, device=rows.device)]
