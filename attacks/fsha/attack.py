"""Feature-space hijacking (Pasquini, Ateniese, Bernaschi, CCS 2021): a server trains clients to leak."""

from __future__ import annotations

import torch

from bench.api import IncompatibleError, Reconstruction, Session, SmashedAttack, SmashedObservation
from bench.attacks.fsha.classifier import ridge_classifier
from bench.attacks.fsha.networks import Critic, draw
from bench.attacks.fsha.pilot import Pilot

_COST_OF_A_ROUND = 2
"""A step of the critic, and a gradient for the clients."""
_CLASSIFIED = 2000
"""Auxiliary images that teach the classifier at most."""


class FSHA(SmashedAttack):
    """Has the clients' half map into the code space of a pilot whose inverse is known."""

    def __init__(
        self,
        *,
        pilot_share: float = 0.3,
        pilot_rate: float = 2e-3,
        critic_rate: float = 1e-3,
        penalty: float = 10.0,
        batch: int = 32,
    ) -> None:
        """Sets the share of the budget that trains the pilot, and the critic of the game with the clients."""
        self.pilot_share = pilot_share
        self.pilot_rate = pilot_rate
        self.critic_rate = critic_rate
        self.penalty = penalty
        self.batch = batch

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """Trains pilot and decoder, hijacks the clients, and decodes what they then release.

        Raises:
            IncompatibleError: there is no session, or there are no auxiliary images.
        """
        session, auxiliary = observation.session, observation.auxiliary
        if session is None or auxiliary is None:
            raise IncompatibleError("the attacker is the server of a training and owns auxiliary images")
        pilot = Pilot.drawn(observation, auxiliary, seed=seed)
        steps = int(self.pilot_share * budget)
        rounds = (budget - steps) // _COST_OF_A_ROUND
        self._train(pilot, steps)
        critic = self._hijack(session, pilot, rounds)
        released = session.release()
        with torch.no_grad():
            codes = pilot.codes(auxiliary.images[:_CLASSIFIED], auxiliary.labels[:_CLASSIFIED])
            images = pilot.decoder(released.flatten(0, 1)).unflatten(0, released.shape[:2])
            strangeness = critic(codes).mean() - critic(released.flatten(0, 1))
        labels = auxiliary.labels[:_CLASSIFIED]
        session.report(ridge_classifier(codes, labels, observation.num_classes))
        spent = torch.full(images.shape[:1], steps + rounds * _COST_OF_A_ROUND, device=images.device)
        cost = strangeness.unflatten(0, released.shape[:2]).mean(1)
        return Reconstruction(images=images, cost=cost, evaluations=spent)

    def _train(self, pilot: Pilot, steps: int) -> None:
        """The pilot and its decoder, by the error of decoded auxiliary images."""
        optimiser = torch.optim.Adam(pilot.parameters(), lr=self.pilot_rate)
        for _ in range(steps):
            optimiser.zero_grad()
            pilot.loss(self.batch).backward()
            optimiser.step()

    def _hijack(self, session: Session, pilot: Pilot, rounds: int) -> Critic:
        """The adversarial game: the critic parts the two spaces, the clients learn to deceive it."""
        critic = self._critic(pilot)
        optimiser = torch.optim.Adam(critic.parameters(), lr=self.critic_rate)
        for _ in range(rounds):
            sent = session.send()
            with torch.no_grad():
                real = pilot.codes(*pilot.batch(len(sent)))
            distance = critic(real).mean() - critic(sent).mean()
            share = torch.rand(len(sent), generator=pilot.generator).to(sent)
            optimiser.zero_grad()
            (self.penalty * critic.penalty(real, sent, share) - distance).backward()
            optimiser.step()
            arrived = sent.clone().requires_grad_()
            session.answer(torch.autograd.grad(-critic(arrived).mean(), arrived)[0])
        return critic

    def _critic(self, pilot: Pilot) -> Critic:
        activations = pilot.observation.activations
        code = activations.shape[2:]
        with torch.random.fork_rng(devices=[]):
            critic = Critic((code[0], code[1], code[2]))
        draw(critic, pilot.generator)
        return critic.to(activations.device)
