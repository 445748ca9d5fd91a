"""What attacks on gradients are tried on that leak from split learning."""

from __future__ import annotations

from collections.abc import Iterator

from bench.api import Adversary, Channel, Defense, GradientObservation
from bench.channels.client_gradients import CHANNEL
from bench.check.materials import material, split_material
from bench.check.materials.trial import GradientTrial, Trial
from bench.check.place import Subject
from bench.plugins import attack_card, build_defense

_MODEL = "lenet[cut=2]"
"""The sigmoid network, whose gradients tell most."""


class LeakedTrial(GradientTrial):
    """Gradients of three clients' half of a split network at round 0."""

    larger_batch = 2
    channel = Channel.CLIENT_GRADIENTS
    split = True

    def defenses(self) -> Iterator[str]:
        """All of them: each changes something else before the client computes."""
        return Trial.defenses(self)

    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> GradientObservation:
        """Through the default strength of the defense."""
        hooks = build_defense(defense, {}) if defense else Defense()
        place = split_material.source(hooks, batch_size=size, model=_MODEL)
        released = CHANNEL.release(place)
        card = attack_card(subject.name)
        return CHANNEL.observe(
            place, released, material.attacker(card, released, adversary, split_material.CLIENT_IMAGES)
        )


LEAKED = LeakedTrial()
