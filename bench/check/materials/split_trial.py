"""What attacks on activations are tried on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from torch import Tensor

from bench.api import Adversary, Channel, Defense, ImageSet, SmashedObservation
from bench.check.counters import Steps
from bench.check.materials import material, split_material
from bench.check.materials.generator import in_double as generator_in_double
from bench.check.materials.trial import Counter, ReleaseTrial, card_of
from bench.check.place import Subject
from bench.plugins import build_defense
from bench.victims.releases import Release, Source


class SmashedTrial(ReleaseTrial):
    """Activations of three clients, of a network at round 0 with a deep cut."""

    larger_batch = 2
    channel = Channel.SMASHED
    split = True
    spending = "took gradients through the client's half, or steps of a network of its own,"

    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> SmashedObservation:
        """Through the default strength of the defense."""
        return self._observed(subject, size, adversary, defense, material.VICTIMS)

    def _observed(
        self, subject: Subject, size: int, adversary: Adversary, defense: str, releases: int
    ) -> SmashedObservation:
        place, sent = _sent(defense, size, releases)
        return split_material.observation(subject.name, place, sent, adversary=adversary)

    def counted(self, subject: Subject) -> Iterator[SmashedObservation]:
        """Of one release: a step that an attacker takes for all of them counts for each."""
        card = card_of(subject)
        adversary, defense = next(self.views(card))
        for size in self.sizes(card):
            yield self._observed(subject, size, adversary, defense, 1)

    def exact(self, seen: SmashedObservation) -> SmashedObservation:
        """Halves, activations and the attacker's images are in float64; the clients answer as they did."""
        query, owned, received = seen.query, seen.auxiliary, seen.received
        return replace(
            seen,
            activations=seen.activations.double(),
            model=copy.deepcopy(seen.model).double(),
            server=copy.deepcopy(seen.server).double(),
            client=None if seen.client is None else copy.deepcopy(seen.client).double(),
            query=None if query is None else lambda inputs: query(inputs.float()).double(),
            received=received and replace(received, activations=received.activations.double()),
            auxiliary=None if owned is None else ImageSet(owned.images.double(), owned.labels),
            generator=generator_in_double(seen.generator),
        )

    def shown(self, seen: SmashedObservation) -> list[Tensor]:
        """The activations, given labels, both halves, and what the attacker brings."""
        networks = [seen.server, seen.model, *([] if seen.client is None else [seen.client])]
        networks += [] if seen.generator is None else [seen.generator.decoder]
        labels = [] if seen.labels is None else [seen.labels]
        weights = [value for network in networks for value in network.state_dict().values()]
        owned = [] if seen.auxiliary is None else [seen.auxiliary.images, seen.auxiliary.labels]
        received = [] if seen.received is None else [seen.received.activations]
        return [seen.activations, seen.ids, *labels, *owned, *received, *weights]

    def spoiled(self, seen: SmashedObservation, victim: int, value: float) -> SmashedObservation:
        """All its activations are that value."""
        activations = seen.activations.clone()
        activations[victim] = value
        return replace(seen, activations=activations)

    def counter(self, seen: SmashedObservation) -> Counter:
        """Gradients through the client's half, or steps of a network."""
        return Steps(seen)


@cache
def _sent(defense: str, size: int, releases: int) -> tuple[Source, Release]:
    """What clients send through the default strength of a defense, and where it comes from."""
    hooks = build_defense(defense, {}) if defense else Defense()
    place = split_material.source(hooks, batch_size=size, releases=releases)
    return place, split_material.released(place)


SMASHED = SmashedTrial()
