"""Small real material of released classifiers: their owner, their weights, and what an attacker sees."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

from torch import Tensor

from bench.api import (
    Adversary,
    BlackBoxObservation,
    Channel,
    Defense,
    ImageSet,
    ModelObservation,
    Splits,
)
from bench.channels.model import CHANNEL
from bench.check.counters import InputGradients, Steps
from bench.check.materials import material
from bench.check.materials.generator import in_double
from bench.check.materials.trial import Counter, Trial, card_of
from bench.check.place import Subject
from bench.plugins import build_defense
from bench.victims.owner import release_classifier, train_owner
from bench.victims.releases import Source
from bench.victims.training import Victim

_IMAGES, _TEST, _EPOCHS = 1000, 300, 4
"""A trial of 125 steps, after which digits are told apart; it is no result."""
_BRIEF = 256
"""Images of a training of 8 steps, which only shows whether two trainings are the same."""
_AUXILIARY = 200


def _few(count: int) -> Splits:
    splits = material.data().splits
    return Splits(
        private_train=material.few(splits.private_train, count),
        private_test=material.few(splits.private_test, _TEST),
        auxiliary=splits.auxiliary,
    )


def tested() -> ImageSet:
    """The images on which a trial's accuracy is measured."""
    return _few(_IMAGES).private_test


def train(hooks: Defense, *, brief: bool = False) -> Victim:
    """What the owner trains under a defense."""
    return train_owner(
        model=material.learner(),
        splits=_few(_BRIEF if brief else _IMAGES),
        defense=hooks,
        epochs=1 if brief else _EPOCHS,
        seed=0,
        device=material.CPU,
        **material.shape(),
    )


@cache
def victim(defense: str) -> Victim:
    """A classifier under a defense at its default strength; of an undefended owner if there is no name."""
    return train(build_defense(defense, {}) if defense else Defense())


def source(
    hooks: Defense, parameters: dict[str, Tensor], *, batch_size: int = 1, classes: int = material.VICTIMS
) -> Source:
    """Where the release of a classifier comes from."""
    return Source(
        model=material.learner(),
        parameters=parameters,
        private=_few(_IMAGES).private_train,
        defense=hooks,
        releases=classes,
        batch_size=batch_size,
        seed=0,
        device=material.CPU,
        **material.shape(),
    )


def observation(
    subject: Subject, place: Source, *, adversary: Adversary = Adversary.NAIVE
) -> ModelObservation:
    """What this attack may see, built as in a real cell."""
    released = release_classifier(place)
    return CHANNEL.observe(
        place, released, material.attacker(card_of(subject), released, adversary, _AUXILIARY)
    )


class ReleasedTrial(Trial):
    """Three classes of a classifier that its owner has trained briefly and released."""

    larger_batch = 2
    channel = Channel.MODEL
    release = "class"
    releases = "classes"

    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> ModelObservation:
        """Of a classifier that was trained under the default strength of the defense."""
        hooks = build_defense(defense, {}) if defense else Defense()
        place = source(hooks, victim(defense).trained, batch_size=size)
        return observation(subject, place, adversary=adversary)

    def exact(self, seen: ModelObservation) -> ModelObservation:
        """The classifier and all that the attacker brings are in float64."""
        return replace(
            seen,
            model=copy.deepcopy(seen.model).double(),
            generator=in_double(seen.generator),
            images=None if seen.images is None else seen.images.double(),
        )

    def shown(self, seen: ModelObservation) -> list[Tensor]:
        """The classifier, the classes, and what the attacker brings."""
        prior = [] if seen.generator is None else [seen.generator.decoder, seen.generator.critic]
        networks = [seen.model, *(network for network in prior if network is not None)]
        weights = [value for network in networks for value in network.state_dict().values()]
        images = [] if seen.images is None else [seen.images]
        return [seen.targets, seen.ids, *images, *weights]

    def counter(self, seen: ModelObservation) -> Counter:
        """Gradients in the images, through the classifier; steps of what is trained beside a black box."""
        return Steps(seen) if isinstance(seen, BlackBoxObservation) else InputGradients(seen)


RELEASED = ReleasedTrial()
