"""Small real material of split learning: a network at round 0 or trained, and what its clients send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from bench.api import Adversary, Checkpoint, Defense, Session, SmashedObservation
from bench.channels.smashed import CHANNEL
from bench.check.materials import material
from bench.plugins import attack_card
from bench.victims.releases import Release, Source
from bench.victims.session import HijackedTraining
from bench.victims.split import build_split, train_split
from bench.victims.split_releases import release_activations
from bench.victims.training import stream

MODEL = "cnn_pooled[cut=2]"
"""The deeper cut: the smaller activations."""
CLIENT_IMAGES = 96


def round_0(defense: Defense, model: str = MODEL) -> dict[str, Tensor]:
    """The weights with which split learning starts under a defense."""
    network = build_split(model, defense=defense, **material.shape())
    network.initialise(stream(0, "weights", material.CPU))
    context = _source(model, {}, defense, 1, 1).context(network)
    defense.prepare(network, material.few(material.data().splits.private_train, CLIENT_IMAGES), context)
    return {name: value.detach() for name, value in network.state_dict().items()}


@cache
def trained(model: str) -> dict[str, Tensor]:
    """The weights of an undefended victim after its last round."""
    return train_split(
        model=model,
        splits=material.data().splits,
        defense=Defense(),
        epochs=None,
        seed=0,
        device=material.CPU,
        **material.shape(),
    ).trained


def _source(
    model: str, parameters: dict[str, Tensor], defense: Defense, releases: int, batch_size: int
) -> Source:
    return Source(
        model=model,
        parameters=parameters,
        private=material.data().splits.private_train,
        defense=defense,
        releases=releases,
        batch_size=batch_size,
        seed=0,
        device=material.CPU,
        **material.shape(),
    )


def source(
    defense: Defense,
    *,
    batch_size: int = 1,
    releases: int = material.VICTIMS,
    model: str = MODEL,
    checkpoint: Checkpoint = Checkpoint.INITIAL,
    parameters: dict[str, Tensor] | None = None,
) -> Source:
    """Where small releases come from; only undefended victims are trained."""
    if parameters is None:
        parameters = trained(model) if checkpoint is Checkpoint.TRAINED else round_0(defense, model)
    return _source(model, parameters, defense, releases, batch_size)


def released(place: Source) -> Release:
    """What the clients send."""
    return release_activations(place)


def observation(
    attack: str, place: Source, sent: Release, *, adversary: Adversary = Adversary.NAIVE, few: bool = True
) -> SmashedObservation:
    """What this attack may see, built as in a real cell."""
    splits, card = material.data().splits, attack_card(attack)

    def start() -> HijackedTraining | None:
        return CHANNEL.session(place, sent, card, initial=place.parameters, splits=splits)

    session, images = start(), CLIENT_IMAGES if few else len(splits.auxiliary)
    place = replace(place, private=material.few(place.private, CLIENT_IMAGES)) if few else place
    who = replace(material.attacker(card, sent, adversary, images), session=session)
    seen = CHANNEL.observe(place, sent, who)
    return seen if session is None else replace(seen, session=Restarting(session, start))


@dataclass(frozen=True)
class Restarting:
    """Clients who can start from round 0 again, since an attack leaves them trained."""

    session: Session
    start: Callable[[], Session | None]

    def anew(self) -> Restarting:
        """The same clients at round 0."""
        session = self.start()
        assert session is not None
        return replace(self, session=session)

    def send(self) -> Tensor:
        """See :class:`~bench.api.smashed.Session`."""
        return self.session.send()

    def answer(self, gradient: Tensor) -> None:
        """See :class:`~bench.api.smashed.Session`."""
        self.session.answer(gradient)

    def release(self) -> Tensor:
        """See :class:`~bench.api.smashed.Session`."""
        return self.session.release()

    def report(self, classify: Callable[[Tensor], Tensor]) -> None:
        """See :class:`~bench.api.smashed.Session`."""
        self.session.report(classify)
