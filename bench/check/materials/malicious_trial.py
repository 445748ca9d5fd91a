"""What attacks of a malicious server are tried on."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from bench.api import Adversary, Channel, Checkpoint, Defense, GradientObservation
from bench.channels.malicious import CHANNEL
from bench.check.materials import material
from bench.check.materials.trial import GradientTrial, card_of
from bench.check.place import Subject
from bench.plugins import build_defense
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
    session = CHANNEL.session(place, sent, card, initial=initial, splits=splits)
    who = replace(material.attacker(card, sent, adversary), session=session)
    return CHANNEL.observe(place, sent, who)


MALICIOUS = MaliciousTrial()
