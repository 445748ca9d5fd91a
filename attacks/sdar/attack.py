"""SDAR (Zhu et al., NDSS 2025): a simulator of the client, kept decodable and honest by discriminators."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, softplus

from bench.api import IncompatibleError, Reconstruction, SmashedAttack, SmashedObservation
from bench.attacks.fora.critic import Critic
from bench.attacks.fora.substitute import Substitute, known
from bench.attacks.inverse_network.decoder import Decoder

_AT_ONCE = 250


class SDAR(SmashedAttack):
    """Trains simulator and decoder together on auxiliary images, and decodes the releases."""

    def __init__(
        self,
        *,
        discriminators: bool = True,
        simulator_weight: float = 0.02,
        decoder_weight: float = 1e-5,
        simulator_rate: float = 1e-3,
        decoder_rate: float = 3e-3,
        discriminator_rate: float = 1e-4,
        batch: int = 32,
    ) -> None:
        """Sets the game; without ``discriminators`` it is PCAT (Gao and Zhang, USENIX Security 2023)."""
        self.discriminators = discriminators
        self.simulator_weight = simulator_weight
        self.decoder_weight = decoder_weight
        self.simulator_rate = simulator_rate
        self.decoder_rate = decoder_rate
        self.discriminator_rate = discriminator_rate
        self.batch = batch

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """A round costs a step of the simulator, one of the decoder, and one of the discriminators if any.

        Raises:
            IncompatibleError: there are no auxiliary images, or no private labels.
        """
        if observation.labels is None:
            raise IncompatibleError("the server decodes by the private labels, which the protocol gives it")
        game = _Game.drawn(observation, seed=seed, conditional=self.discriminators)
        cost = 3 if self.discriminators else 2
        rounds = max(1, budget // cost)
        error = self._train(game, rounds)
        with torch.no_grad():
            sent, labels = observation.activations.flatten(0, 1), observation.labels.flatten()
            parts = zip(sent.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
            images = torch.cat([game.decoded(*part) for part in parts]).clamp(0, 1)
        return Reconstruction(
            images=images.unflatten(0, observation.labels.shape).float(),
            cost=error.expand(observation.victims).clone(),
            evaluations=torch.full_like(observation.ids, min(budget, rounds * cost)),
        )

    def _train(self, game: _Game, rounds: int) -> Tensor:
        """Simulator and decoder against the discriminators, in turns.

        Returns:
            The decoder's mean error on auxiliary images in the last tenth of the rounds.
        """
        learners = torch.optim.Adam(
            [
                {"params": list(game.simulator.half.parameters()), "lr": self.simulator_rate},
                {"params": list(game.decoder.parameters()), "lr": self.decoder_rate},
            ]
        )
        judges = [*game.of_activations.parameters(), *game.of_images.parameters()]
        judged = torch.optim.Adam(judges, lr=self.discriminator_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(learners, T_max=rounds)
        errors = []
        for _ in range(rounds):
            turn = game.turn(self.batch)
            loss, error = self._learned(game, turn)
            learners.zero_grad()
            loss.backward()
            learners.step()
            schedule.step()
            errors.append(error.detach())
            if self.discriminators:
                judged.zero_grad()
                self._judged(game, turn).backward()
                judged.step()
        return torch.stack(errors[-max(1, rounds // 10) :]).mean()

    def _learned(self, game: _Game, turn: _Turn) -> tuple[Tensor, Tensor]:
        """What simulator f' and decoder g' minimise on auxiliary (x', y') and received (z, y).

        ``CE(server(f'(x')), y') + w1 * -log D1(f'(x'), y')``, and with the simulator's weights as constants
        ``|g'(f'(x'), y') - x'|^2 + w2 * -log D2(g'(z, y), y)``.
        """
        made = turn.made
        error = mse_loss(game.decoded(made.detach(), turn.own), turn.images)
        loss = cross_entropy(game.server(made), turn.own) + error
        if self.discriminators:
            deceived = softplus(-game.of_activations(game.planes(made, turn.own))).mean()
            natural = softplus(-game.of_images(turn.rebuilt)).mean()
            loss = loss + self.simulator_weight * deceived + self.decoder_weight * natural
        return loss, error

    def _judged(self, game: _Game, turn: _Turn) -> Tensor:
        """What D1 and D2 minimise: ``-log D(real) - log(1 - D(made))``, each for its pair of samples."""
        made = game.planes(turn.made.detach(), turn.own)
        real = game.planes(turn.real, turn.private)
        images = _labelled(turn.images, turn.own, game.classes)
        first = softplus(game.of_activations(made)).mean() + softplus(-game.of_activations(real)).mean()
        second = (
            softplus(game.of_images(turn.rebuilt.detach())).mean() + softplus(-game.of_images(images)).mean()
        )
        return first + second


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """Samples of a round: what the simulator makes of auxiliary images, what the decoder makes of received.

    Attributes:
        images: x', ``[S, C, H, W]``.
        own: y', int64 ``[S]``.
        made: f'(x'), ``[S, *Z]``.
        real: z, ``[S, *Z]``.
        private: y, int64 ``[S]``.
        rebuilt: g'(z, y) with the planes of y, ``[S, C + K, H, W]``; where there are no discriminators, z.
    """

    images: Tensor
    own: Tensor
    made: Tensor
    real: Tensor
    private: Tensor
    rebuilt: Tensor


@dataclass(frozen=True, kw_only=True)
class _Game:
    """The networks, and what they learn from.

    Attributes:
        simulator: f', with the auxiliary images.
        decoder: g'.
        server: the server's half with constant weights.
        of_activations: D1.
        of_images: D2.
        received: of clients, ``[P, *Z]``.
        private: the labels of what was received, int64 ``[P]``.
        centre: mean of what was received, a scalar.
        spread: its standard deviation.
        classes: K.
        conditional: the decoder is told labels.
    """

    simulator: Substitute
    decoder: Decoder
    server: nn.Module
    of_activations: Critic
    of_images: Critic
    received: Tensor
    private: Tensor
    centre: Tensor
    spread: Tensor
    classes: int
    conditional: bool

    @classmethod
    def drawn(cls, seen: SmashedObservation, *, seed: int, conditional: bool) -> _Game:
        simulator, given = Substitute.drawn(seen, seed=seed), known(seen)
        assert given.labels is not None
        classes = seen.num_classes
        shown = _labelled(simulator.images[:1], simulator.labels[:1], classes)
        centre, spread = given.activations.mean(), given.activations.std().clamp_min(1e-6)
        standard = (given.activations - centre) / spread
        planes = _labelled(standard, given.labels, classes) if conditional else standard
        return cls(
            simulator=simulator,
            decoder=Decoder.drawn(planes, seen.image_shape, width=32, seed=seed).to(standard.dtype),
            server=copy.deepcopy(seen.server).requires_grad_(False),
            of_activations=Critic.drawn(_labelled(standard[:1], given.labels[:1], classes), seed=seed + 1),
            of_images=Critic.drawn(shown, seed=seed + 2),
            received=given.activations,
            private=given.labels,
            centre=centre,
            spread=spread,
            classes=classes,
            conditional=conditional,
        )

    def turn(self, size: int) -> _Turn:
        index, device = self.simulator.draw(size), self.received.device
        other = torch.randint(len(self.received), (size,), generator=self.simulator.generator, device=device)
        real, private = self.received[other], self.private[other]
        rebuilt = _labelled(self.decoded(real, private), private, self.classes) if self.conditional else real
        return _Turn(
            images=self.simulator.images[index],
            own=self.simulator.labels[index],
            made=self.simulator.activations(index),
            real=real,
            private=private,
            rebuilt=rebuilt,
        )

    def planes(self, activations: Tensor, labels: Tensor) -> Tensor:
        return _labelled((activations - self.centre) / self.spread, labels, self.classes)

    def decoded(self, activations: Tensor, labels: Tensor) -> Tensor:
        if self.conditional:
            images: Tensor = self.decoder(self.planes(activations, labels))
            return images
        images = self.decoder((activations - self.centre) / self.spread)
        return images


def _labelled(samples: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Maps ``[M, C + K, H, W]``: the samples, and a plane of ones for the label's class."""
    maps = samples if samples.ndim == 4 else samples.flatten(1)[:, :, None, None]
    planes = one_hot(labels, classes).to(maps)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
    return torch.cat([maps, planes], dim=1)
