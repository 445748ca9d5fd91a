"""The promises of a victim's network: it builds, classifies, and its gradients can be attacked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from bench.api import Defense, Splits
from bench.api.errors import BenchError
from bench.check.findings import Broken, Checklist, Finding, Item, Note, Verdict
from bench.check.materials import material
from bench.models.base import Shape
from bench.models.build import build_model, schedule_of
from bench.models.spec import module_file, parse_model
from bench.victims.training import train_victim

_DIGITS = 8


def check_model(name: str) -> Checklist:
    """Tries a network on grey or, if it wants them, on colour images.

    Args:
        name: what ``-m`` would take.
    """
    spec = parse_model(name)
    place = spec.exported or (module_file(spec.function[0], name) if spec.function else "bench/models")
    return Checklist(kind="model", name=name, folder=str(place), items=tuple(_items(name)))


def _items(name: str) -> Iterator[Item]:
    steps: dict[str, Callable[[], str]] = {
        "builds": lambda: _builds(name),
        "scores": lambda: _scores(name),
        "weights": lambda: _weights(name),
        "schedule": lambda: str(schedule_of(name)),
        "trains": lambda: _trains(name),
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


def _shape(name: str) -> tuple[int, Shape]:
    """Classes and shape of images that the network takes: the material's own, or the same in colour."""
    classes, (_, height, width) = material.shape().values()
    grey: Shape = (1, height, width)
    colour: Shape = (3, height, width)
    try:
        build_model(name, num_classes=classes, image_shape=grey)
    except BenchError as error:
        try:
            build_model(name, num_classes=classes, image_shape=colour)
        except BenchError:
            raise error from None
        return classes, colour
    return classes, grey


def _builds(name: str) -> str:
    classes, shape = _shape(name)
    network = build_model(name, num_classes=classes, image_shape=shape)
    count = sum(value.numel() for value in network.parameters())
    return f"{count:,} parameters, scores {classes} classes of {'x'.join(map(str, shape))} images"


def _scores(name: str) -> str:
    classes, shape = _shape(name)
    network = build_model(name, num_classes=classes, image_shape=shape)
    digits = material.data().splits.private_train.images[:_DIGITS].expand(-1, shape[0], -1, -1)
    with torch.no_grad():
        scores = network(digits)
    if (scores >= 0).all() and torch.allclose(scores.sum(1), torch.ones(_DIGITS), atol=1e-4):
        raise Note(
            f"the scores of {_DIGITS} digits are probabilities: none is negative, and they sum to 1",
            "return the scores before the softmax: the cross-entropy has one, and a second one flattens the "
            "gradients",
        )
    return f"from {scores.min():.2g} to {scores.max():.2g} on {_DIGITS} digits"


def _weights(name: str) -> str:
    classes, shape = _shape(name)
    network, drawn = build_model(name, num_classes=classes, image_shape=shape), []
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


def _trains(name: str) -> str:
    classes, shape = _shape(name)
    splits = material.data().splits
    wide = {
        part: type(kept)(kept.images.expand(-1, shape[0], -1, -1)[:400], kept.labels[:400])
        for part, kept in vars(splits).items()
    }
    found = train_victim(
        model=name, splits=Splits(**wide), num_classes=classes, image_shape=shape, defense=Defense(),
        batch_size=4, epochs=1, seed=0, device=material.CPU,
    )  # fmt: skip
    if not all(value.isfinite().all() for value in found.trained.values()):
        raise Broken(
            f"the weights are not finite after {found.rounds} rounds",
            f"lower the rate: {name.partition('[')[0]}[learning_rate=0.01]",
        )
    return f"accuracy {found.accuracy:.2f} after {found.rounds} rounds on 400 digits"
