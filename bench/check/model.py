"""The promises of a victim's network: it builds, classifies, and its gradients can be attacked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bench.api import Defense, ImageSet, Splits
from bench.api.errors import BenchError
from bench.cells.transfer import from_bytes, to_bytes
from bench.check.findings import Broken, Checklist, Finding, Item, Note, Verdict
from bench.check.materials import material
from bench.matrix.filters import parse_variant
from bench.models.base import Shape, VictimModel
from bench.models.build import build_model, schedule_of
from bench.models.compare import compare_named
from bench.models.spec import module_file, parse_model
from bench.plugins import build_dataset
from bench.victims.training import train_victim

_SHOWN = 8
_TRAINED_ON = 400


@dataclass(frozen=True)
class _Place:
    """A network and the images that it is tried on."""

    name: str
    num_classes: int
    image_shape: Shape
    splits: Splits

    @property
    def shape(self) -> dict[str, Any]:
        """As builders take it."""
        return {"num_classes": self.num_classes, "image_shape": self.image_shape}

    def built(self) -> VictimModel:
        """The network."""
        return build_model(self.name, **self.shape)


def check_model(name: str, data: str = "") -> Checklist:
    """Tries a network on the images that it is for.

    Args:
        name: what ``-m`` would take.
        data: what ``-D`` would take; empty: digits, in colour if the network wants them so.
    """
    spec = parse_model(name)
    place = spec.exported or (module_file(spec.function[0], name) if spec.function else "bench/models")
    return Checklist(kind="model", name=name, folder=str(place), items=tuple(_items(name, data)))


def _items(name: str, data: str) -> Iterator[Item]:
    places: list[_Place] = []

    def builds() -> str:
        places.append(_with_data(name, data) if data else _with_digits(name))
        return _builds(places[0])

    steps: dict[str, Callable[[], str]] = {
        "builds": builds,
        "autograd": lambda: _as_autograd(places[0]),
        "scores": lambda: _scores(places[0]),
        "weights": lambda: _weights(places[0]),
        "travels": lambda: _travels(places[0]),
        "schedule": lambda: str(schedule_of(name)),
        "trains": lambda: _trains(places[0]),
    }
    for promise, step in steps.items():
        start, verdict, fix = time.perf_counter(), Verdict.OK, ""
        try:
            message = step()
        except Finding as finding:
            verdict, message, fix = finding.verdict, finding.message, finding.fix
        except BenchError as error:
            verdict, message = Verdict.BROKEN, str(error)
        yield Item(
            promise=promise, means=promise, verdict=verdict, message=message, fix=fix,
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        if verdict is Verdict.BROKEN:
            return


def _with_data(name: str, data: str) -> _Place:
    dataset = build_dataset(*parse_variant(data))
    return _Place(name, dataset.num_classes, dataset.image_shape, dataset.splits(seed=0))


def _with_digits(name: str) -> _Place:
    """Digits as they are, or in colour for a network that takes no grey ones."""
    classes, (_, height, width) = material.shape().values()
    grey, colour = ((channels, height, width) for channels in (1, 3))
    try:
        build_model(name, num_classes=classes, image_shape=grey)
    except BenchError as error:
        try:
            build_model(name, num_classes=classes, image_shape=colour)
        except BenchError:
            raise error from None
        return _Place(name, classes, colour, _in_colour(material.data().splits))
    return _Place(name, classes, grey, material.data().splits)


def _in_colour(splits: Splits) -> Splits:
    parts = {
        part: ImageSet(kept.images.expand(-1, 3, -1, -1), kept.labels) for part, kept in vars(splits).items()
    }
    return Splits(**parts)


def _builds(place: _Place) -> str:
    count = sum(value.numel() for value in place.built().parameters())
    shape = "x".join(map(str, place.image_shape))
    return f"{count:,} parameters, scores {place.num_classes} classes of {shape} images"


def _as_autograd(place: _Place) -> str:
    return compare_named(place.name, **place.shape, images=place.splits.auxiliary.images)


def _travels(place: _Place) -> str:
    """Attacks run in a process of their own."""
    network, images = place.built(), place.splits.auxiliary.images[:_SHOWN]
    there = from_bytes(bytes(to_bytes(network, ())), lambda number: None, trusting=True)
    with torch.no_grad():
        if not torch.equal(network(images), there(images)):
            raise Broken(
                "its scores are others in the process of attacks, which gets a copy",
                "keep what decides the scores in parameters, buffers and plain attributes",
            )
    return "its copy in the process of attacks has the same scores"


def _scores(place: _Place) -> str:
    images = place.splits.auxiliary.images[:_SHOWN]
    with torch.no_grad():
        scores = place.built()(images)
    if (scores >= 0).all() and torch.allclose(scores.sum(1), torch.ones(len(images)), atol=1e-4):
        raise Note(
            f"the scores of {len(images)} images are probabilities: none is negative, and they sum to 1",
            "return the scores before the softmax: the cross-entropy has one, and a second one flattens the "
            "gradients",
        )
    return f"from {scores.min():.2g} to {scores.max():.2g} on {len(images)} images"


def _weights(place: _Place) -> str:
    network, drawn = place.built(), []
    for seed in (0, 0, 1):
        network.initialise(torch.Generator().manual_seed(seed))
        drawn.append(torch.cat([value.detach().flatten().clone() for value in network.parameters()]))
    if not torch.equal(drawn[0], drawn[1]):
        raise Broken(
            "the weights of round 0 differ between two draws with one seed",
            "draw them in the constructor by torch.nn.init, not from numpy or the clock",
        )
    return (
        "those of the file, or the same at every seed" if torch.equal(drawn[0], drawn[2]) else "by the seed"
    )


def _trains(place: _Place) -> str:
    few = {
        part: ImageSet(kept.images[:_TRAINED_ON], kept.labels[:_TRAINED_ON])
        for part, kept in vars(place.splits).items()
    }
    found = train_victim(
        model=place.name, splits=Splits(**few), **place.shape, defense=Defense(),
        batch_size=4, epochs=1, seed=0, device=material.CPU,
    )  # fmt: skip
    if not all(value.isfinite().all() for value in found.trained.values()):
        raise Broken(
            f"the weights are not finite after {found.rounds} rounds",
            f"lower the rate: {place.name.partition('[')[0]}[learning_rate=0.01]",
        )
    count = len(few["private_train"])
    return f"accuracy {found.accuracy:.2f} after {found.rounds} rounds on {count} images"
