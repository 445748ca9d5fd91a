"""Small real material: digits, a network at round 0, and what its clients release."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.api import (
    Adversary,
    Channel,
    Checkpoint,
    Clients,
    Dataset,
    Defense,
    GradientObservation,
    ImageGenerator,
    ImageSet,
    Splits,
)
from bench.api.cards import AttackCard
from bench.channels.shared.contract import Attacker
from bench.channels.shared.observe import observe_gradients
from bench.check.materials.generator import briefly_trained
from bench.matrix import load_matrix
from bench.metrics.pool import by_digest
from bench.models.base import public_state
from bench.models.build import build_model
from bench.models.names import LINEAR_INPUT
from bench.plugins import build_dataset
from bench.victims.clients import clients_of
from bench.victims.releases import Release, Source, batches, release_gradients
from bench.victims.training import at_round_0, stream, train_victim

CPU = torch.device("cpu")
VICTIMS = 3
BUDGET = 12
FLOOR_VICTIMS = 8
FLOOR_BUDGET = 1000
_AUXILIARY = 50
_LISTED = 40
_MATRIX = "smoke"


@dataclass(frozen=True)
class Data:
    """A data set and its splits."""

    dataset: Dataset
    splits: Splits


@cache
def data() -> Data:
    """The data set of the smallest matrix that ships."""
    entry = load_matrix(_MATRIX).block[0].datasets[0]
    dataset = build_dataset(entry.name, {})
    return Data(dataset, dataset.splits(seed=0))


def shape() -> dict[str, Any]:
    """``num_classes`` and ``image_shape`` of the material."""
    return {"num_classes": data().dataset.num_classes, "image_shape": data().dataset.image_shape}


def architecture() -> str:
    """The network of the smallest matrix."""
    return load_matrix(_MATRIX).block[0].models[0]


def network_of(card: AttackCard) -> str:
    """The network on which an attack keeps its promises: one that it is made for."""
    return LINEAR_INPUT[0] if card.needs_linear_input else architecture()


def learner() -> str:
    """The last network that it trains by a federation, which learns in a few rounds."""
    blocks = [block for block in load_matrix(_MATRIX).block if block.channel == Channel.GRADIENTS]
    return blocks[-1].models[-1]


@cache
def round_0(model: str) -> dict[str, Tensor]:
    """The weights with which an undefended federation starts."""
    network = build_model(model, **shape())
    network.initialise(stream(0, "weights", CPU))
    return {name: value.detach() for name, value in network.named_parameters()}


def _defended(defense: Defense, model: str) -> dict[str, Tensor]:
    """The weights with which a federation starts under a defense."""
    private = few(data().splits.private_train, VICTIMS)
    return public_state(at_round_0(model, defense, private, batch_size=1, seed=0, **shape()))


@cache
def trained(model: str) -> dict[str, Tensor]:
    """The weights of an undefended federation after its last round."""
    return train_victim(
        model=model,
        splits=data().splits,
        defense=Defense(),
        batch_size=1,
        epochs=None,
        seed=0,
        device=CPU,
        **shape(),
    ).trained


@cache
def generator(kind: str) -> ImageGenerator:
    """A small generator of that kind."""
    return briefly_trained(kind, data().splits, data().dataset.image_shape)


def prior_of(card: AttackCard) -> ImageGenerator | None:
    """The generator that an attack of this card searches; None for most."""
    return generator(str(card.parameters["generator"].default)) if card.needs_generator else None


def few(part: ImageSet, count: int) -> ImageSet:
    """The first images of a split."""
    return ImageSet(part.images[:count], part.labels[:count])


def source(
    defense: Defense,
    *,
    batch_size: int,
    releases: int = VICTIMS,
    model: str = "",
    parameters: dict[str, Tensor] | None = None,
    memory: dict[str, Tensor] | None = None,
) -> Source:
    """Where small releases come from."""
    name = model or architecture()
    return Source(
        model=name,
        parameters=_defended(defense, name) if parameters is None else parameters,
        private=data().splits.private_train,
        defense=defense,
        releases=releases,
        batch_size=batch_size,
        seed=0,
        device=CPU,
        memory=memory or {},
        **shape(),
    )


def release(defense: Defense, *, decoys: bool = False, **place: Any) -> Release:
    """What clients send through a defense, and the images that must not be seen; see :func:`source`."""
    found = source(defense, **place)
    return release_gradients(with_decoys(found) if decoys else found)


def clients(images: Tensor, labels: Tensor) -> Clients:
    """The clients of round 0 whose batches ``[N, B, ...]`` these are."""
    network = build_model(architecture(), **shape()).to(images.device)
    weights = {name: value.to(images.device) for name, value in round_0(architecture()).items()}
    return clients_of(network, weights, images, labels, num_classes=shape()["num_classes"])


def with_decoys(place: Source) -> Source:
    """The same, but what is released are blends of two auxiliary images each: images of no data set."""
    rows, owned = batches(place)[2].flatten(), data().splits.auxiliary
    images, labels = place.private.images.clone(), place.private.labels.clone()
    images[rows] = (owned.images[: len(rows)] + owned.images[len(rows) : 2 * len(rows)]) / 2
    labels[rows] = owned.labels[: len(rows)]
    return replace(place, private=ImageSet(images, labels))


def observation(
    card: AttackCard,
    released: Release,
    *,
    adversary: Adversary = Adversary.NAIVE,
    defense: Defense | None = None,
    model: str = "",
    parameters: dict[str, Tensor] | None = None,
) -> GradientObservation:
    """What this attack may see of a release: its card decides about labels and auxiliary images."""
    releases, batch_size = released.labels.shape
    place = source(
        defense or Defense(), batch_size=batch_size, releases=releases, model=model, parameters=parameters
    )
    seen = observe_gradients(place, released, attacker(card, released, adversary))
    return replace(seen, labels=released.labels) if card.needs_labels else seen


def attacker(card: AttackCard, released: Release, adversary: Adversary, images: int = _AUXILIARY) -> Attacker:
    """An attacker of this card with a few images, a small generator and a short list."""
    return Attacker(
        card=card,
        adversary=adversary,
        auxiliary=few(data().splits.auxiliary, images),
        generator=prior_of(card),
        pool=listed(released),
    )


def listed(released: Release) -> Tensor:
    """The released images among others of the attacker's own, as a bound is given them."""
    return by_digest(torch.cat([released.images.flatten(0, 1), data().splits.auxiliary.images[-_LISTED:]]))


def at_floor(card: AttackCard, model: str, checkpoint: Checkpoint) -> tuple[GradientObservation, Release]:
    """The undefended victim on which a card promises its floor."""
    parameters = round_0(model) if checkpoint is Checkpoint.INITIAL else trained(model)
    released = release(Defense(), batch_size=1, releases=FLOOR_VICTIMS, model=model, parameters=parameters)
    seen = observation(card, released, model=model, parameters=parameters)
    return (
        replace(seen, auxiliary=data().splits.auxiliary if seen.threat.auxiliary else None),
        released,
    )
