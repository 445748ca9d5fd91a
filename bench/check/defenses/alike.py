"""Whether a defense does the same wherever it is called: among few clients or many, trained or released.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench.api import Defense, Gradients
from bench.check.defenses.promises import card_of, context, strengths
from bench.check.findings import Broken
from bench.check.materials import material, split_material
from bench.check.place import Subject
from bench.victims.distortion import Signal, Undistorted, distorts
from bench.victims.releases import Source, batches, release_gradients, signal
from bench.victims.split import send
from bench.victims.split_releases import loaded
from bench.victims.training import Victim

_CROWDS = (1, 3, 11, 32, 1)
"""Clients that are served together; alone once more, since a defense may count its calls."""
_ROUNDING = 1e-5
_ALIKE = 2.0
"""By what factor two draws of noise, or the gradients of two batches at round 0, may differ in norm."""
_TRAINED = 10.0
"""The same for batches that a trained network is more or less sure of."""
_FIX = "a hook must not depend on how many clients there are, nor on how often it was called"

Sent = Callable[[Tensor], tuple[Gradients, Gradients]]
"""``rows of the clients -> what leaves them, and what would have left without the defense's last hook``."""


def crowd(subject: Subject) -> str:
    """A client sends the same alone and among 2, 10 and 31 others; where noise is drawn, as much of it."""
    plain = material.release(Defense(), batch_size=1, releases=max(_CROWDS))
    for strength, hooks in strengths(subject):

        def sent(rows: Tensor, hooks: Defense = hooks) -> tuple[Gradients, Gradients]:
            own = {name: value[rows] for name, value in plain.sent.items()}
            shown, _ = hooks.inputs(plain.images[rows], plain.labels[rows], context())
            left = dict(hooks.gradients(own, context()))
            return {**left, "inputs": shown}, {**own, "inputs": plain.images[rows]}

        _check(sent, f"({strength})", drawn=card_of(subject).random)
    return f"alike among {', '.join(str(size) for size in _CROWDS[:-1])} clients"


def split_crowd(subject: Subject) -> str:
    """A client sends the same alone and among 2, 10 and 31 others; where noise is drawn, as much of it."""
    for strength, hooks in strengths(subject):
        place = split_material.source(hooks, releases=max(_CROWDS))
        network, (images, labels, _) = loaded(place), batches(place)

        @torch.no_grad()
        def sent(
            rows: Tensor, hooks: Defense = hooks, place: Source = place, **given: Any
        ) -> tuple[Gradients, Gradients]:
            both = (
                send(network, images[rows], labels[rows], defense=one, context=place.context(network))[1]  # noqa: B023
                for one in (hooks, Undistorted(hooks))
            )
            left, own = ({"activations": value} for value in both)
            return left, own

        _check(sent, f"({strength})", drawn=card_of(subject).random)
    return f"alike among {', '.join(str(size) for size in _CROWDS[:-1])} clients"


def _check(sent: Sent, where: str, *, drawn: bool) -> None:
    """Raises if client 0, the last one of each crowd, is served otherwise than alone."""
    alone: Gradients = {}
    changed: list[float] = []
    for size in _CROWDS:
        left, own = sent(torch.arange(size).flip(0))
        mine = {name: value[-1] for name, value in left.items()}
        gaps = [(value - own[name][-1]).norm() for name, value in mine.items()]
        changed.append(torch.stack(gaps).norm().item())
        alone = alone or mine
        apart = max((mine[name] - value).abs().max().item() for name, value in alone.items())
        if not drawn and not apart <= _ROUNDING:
            raise Broken(f"among {size} clients one sends something else than alone {where}", _FIX)
    if max(changed) > _ALIKE * min(changed):
        told = ", ".join(f"{value:.3g} of {size}" for size, value in zip(_CROWDS, changed, strict=True))
        raise Broken(
            f"changes what a client sends by another norm among others: {told} clients {where}", _FIX
        )


def in_training(hooks: Defense, victim: Victim, batch_size: int) -> None:
    """Compares how much a defense changed in the training of a victim and changes at its release.

    Raises:
        Broken: one is not like the other.
    """
    if not distorts(hooks) or not victim.signal:
        return
    cases = zip(_released(hooks, victim, batch_size), victim.signal, (_ALIKE, _TRAINED), strict=True)
    for (released, trained, factor), name in zip(cases, ("first", "last"), strict=True):
        low, high = sorted((released or 0.0, trained or 0.0))
        if high > factor * low:
            raise Broken(
                f"in the {name} round of a training it changes {_part(trained)} of what leaves, at release "
                f"{_part(released)}",
                "the same hooks run in training and at release, and have to do the same",
            )


def _part(ratio: float | None) -> str:
    return "nothing" if ratio is None else f"{1 / ratio:.3g}"


def _released(hooks: Defense, victim: Victim, batch_size: int) -> Iterator[float | None]:
    """The median ratio of releases of each checkpoint."""
    for weights in (victim.initial, victim.trained):
        place = material.source(
            hooks, model=material.learner(), parameters=weights, batch_size=batch_size, releases=8
        )
        found: Signal = tuple(signal(release_gradients(place), place, release_gradients) or ())
        known = [value for value in found if value is not None]
        yield torch.tensor(known).median().item() if known else None
