"""What attacks of a malicious server are tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from bench.api import Adversary, Channel, Checkpoint, Defense, GradientObservation, Gradients
from bench.channels.malicious import CHANNEL
from bench.check.materials import material
from bench.check.materials.trial import GradientTrial, card_of
from bench.check.place import Subject
from bench.plugins import build_defense
from bench.victims.broadcast import ObedientClients
from bench.victims.releases import Release, Source


class MaliciousTrial(GradientTrial):
    """Three clients at round 0, who compute on whatever model they are sent."""

    channel = Channel.MALICIOUS

    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> GradientObservation:
        """Through the default strength of the defense."""
        hooks = build_defense(defense, {}) if defense else Defense()
        place = material.source(hooks, batch_size=size)
        return observed(subject, place, CHANNEL.release(place), adversary)

    def at_floor(
        self, subject: Subject, model: str, checkpoint: Checkpoint
    ) -> tuple[GradientObservation, Release]:
        """With all auxiliary images."""
        weights = material.round_0(model) if checkpoint is Checkpoint.INITIAL else material.trained(model)
        place = material.source(
            Defense(), batch_size=1, releases=material.FLOOR_VICTIMS, model=model, parameters=weights
        )
        sent = CHANNEL.release(place)
        return replace(observed(subject, place, sent), auxiliary=material.data().splits.auxiliary), sent

    def exact(self, seen: GradientObservation) -> GradientObservation:
        """As it is: clients answer in the precision of their network."""
        return seen

    def shown(self, seen: GradientObservation) -> list[Tensor]:
        """The weights and the ids."""
        return [*seen.parameters.values(), *seen.model.state_dict().values(), seen.ids]


def observed(
    subject: Subject, place: Source, sent: Release, adversary: Adversary = Adversary.NAIVE
) -> GradientObservation:
    """What this attack may see and do, built as in a real cell."""
    card = card_of(subject)
    initial, splits = place.parameters, material.data().splits

    def start() -> ObedientClients | None:
        return CHANNEL.session(place, sent, card, initial=initial, splits=splits)

    seen = CHANNEL.observe(place, sent, replace(material.attacker(card, sent, adversary), session=start()))
    return seen if seen.session is None else replace(seen, session=Restarting(start))


class Restarting:
    """Clients who can be asked anew, since they answer once.

    Args:
        start: gathers them.
    """

    def __init__(self, start: Callable[[], ObedientClients | None]) -> None:
        self._start, self._clients = start, start()

    def anew(self) -> Restarting:
        """The same clients, of whom nobody has asked anything."""
        return Restarting(self._start)

    def release(self, **layers: Tensor) -> Gradients:
        """See :class:`~bench.api.broadcast.Broadcast`."""
        assert self._clients is not None
        return self._clients.release(**layers)


MALICIOUS = MaliciousTrial()
