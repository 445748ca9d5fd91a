"""Small real material of split learning: a network at round 0 or trained, and what its clients send."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from bench.api import Adversary, Channel, Checkpoint, Defense, SmashedObservation
from bench.check import material
from bench.matrix.cells import Cell, Variant
from bench.models.names import SPLIT
from bench.runs.observe_split import hijacked, observe_split
from bench.victims.releases import Release, Source
from bench.victims.split import build_split, train_split
from bench.victims.split_releases import release_activations
from bench.victims.training import stream

MODEL = sorted(SPLIT)[-1]
"""The deeper cut: the smaller activations."""
_CLIENT_IMAGES = 96


def round_0(defense: Defense, model: str = MODEL) -> dict[str, Tensor]:
    """The weights with which split learning starts under a defense."""
    network = build_split(model, defense=defense, **material.shape())
    network.initialise(stream(0, "weights", material.CPU))
    context = _source(model, {}, defense, 1, 1).context(network)
    defense.prepare(network, material.few(material.data().splits.private_train, _CLIENT_IMAGES), context)
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
) -> Source:
    """Where small releases come from; only undefended victims are trained."""
    weights = trained(model) if checkpoint is Checkpoint.TRAINED else round_0(defense, model)
    return _source(model, weights, defense, releases, batch_size)


def released(place: Source) -> Release:
    """What the clients send."""
    return release_activations(place)


def observation(
    attack: str, place: Source, sent: Release, *, adversary: Adversary = Adversary.NAIVE, few: bool = True
) -> SmashedObservation:
    """What this attack may see, through the door of a real cell."""
    splits, asked = material.data().splits, cell(attack, place, adversary=adversary)
    session = hijacked(asked, source=place, initial=place.parameters, release=sent, splits=splits)
    auxiliary = material.few(splits.auxiliary, _CLIENT_IMAGES) if few else splits.auxiliary
    return observe_split(asked, source=place, release=sent, auxiliary=auxiliary, session=session)


def cell(attack: str, place: Source, *, adversary: Adversary) -> Cell:
    """A small cell in which the attack meets releases from that place."""
    return Cell(
        dataset=Variant(name="", parameters=(), label=""),
        model=place.model,
        checkpoint=Checkpoint.INITIAL,
        channel=Channel.SMASHED,
        batch_size=place.batch_size,
        releases=place.releases,
        epochs=None,
        defense=Variant(name="", parameters=(), label=""),
        attack=Variant(name=attack, parameters=(), label=attack),
        adversary=adversary,
        seed=0,
        budget=material.BUDGET,
    )


def shown(seen: SmashedObservation) -> list[Tensor]:
    """The tensors of an observation that no attack may change."""
    return [seen.activations, seen.ids, *seen.server.state_dict().values(), *seen.model.state_dict().values()]
