"""Whether a defense does the same wherever it is called: among few clients or many, trained or released.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from bench.api import Defense, Gradients
from bench.check.defenses.promises import context, strengths
from bench.check.findings import Broken
from bench.check.materials import material, split_material
from bench.check.place import Subject
from bench.models.split import SplitModel
from bench.victims.distortion import Undistorted
from bench.victims.releases import Release, Source, batches, signal
from bench.victims.split import send
from bench.victims.split_releases import loaded
from bench.victims.training import Victim

_CROWDS = (1, 3, 11, 32, 1)
"""Clients that are served together; alone once more, since a defense may count its calls."""
_SAID = f"alike among {', '.join(str(size) for size in _CROWDS[:-1])} clients"
_ROUNDING = 1e-5
_ALIKE = 2.0
"""By what factor two draws of noise, or the gradients of two batches at round 0, may differ in norm."""
_TRAINED = 10.0
"""The same for batches that a trained network is more or less sure of."""
_FIX = "a hook must not depend on how many clients there are, nor on how often it was called"

Sent = Callable[[Tensor, int], tuple[Gradients, Gradients]]
"""``clients, seed -> what leaves them, and what would have left without the defense's last hook``."""


def crowd(subject: Subject) -> str:
    """A client sends the same alone and among 2, 10 and 31 others; where noise is drawn, as much of it."""
    plain = material.release(Defense(), batch_size=1, releases=max(_CROWDS))
    for strength, hooks in strengths(subject):

        def sent(rows: Tensor, seed: int, hooks: Defense = hooks) -> tuple[Gradients, Gradients]:
            own = {name: value[rows] for name, value in plain.sent.items()}
            shown, _ = hooks.inputs(plain.images[rows], plain.labels[rows], context(seed))
            left = dict(hooks.gradients(own, context(seed, shown, plain.labels[rows])))
            return {**left, "inputs": shown}, {**own, "inputs": plain.images[rows]}

        _check(sent, strength)
    return _SAID


def split_crowd(subject: Subject) -> str:
    """A client sends the same alone and among 2, 10 and 31 others; where noise is drawn, as much of it."""
    for strength, hooks in strengths(subject):
        place = split_material.source(hooks, releases=max(_CROWDS))
        network, (images, labels, _) = loaded(place), batches(place)

        @torch.no_grad()
        def sent(
            rows: Tensor,
            seed: int,
            hooks: Defense = hooks,
            network: SplitModel = network,
            shown: tuple[Tensor, Tensor] = (images, labels),
        ) -> tuple[Gradients, Gradients]:
            batch = [value[rows] for value in shown]
            left, own = (
                send(network, *batch, defense=one, context=replace(context(seed), model=network))[1]
                for one in (hooks, Undistorted(hooks))
            )
            return {"activations": left}, {"activations": own}

        _check(sent, strength)
    return _SAID


def _check(sent: Sent, strength: str) -> None:
    """Raises if client 0, the last one of each crowd, is served otherwise than alone."""
    alone, other = ({k: v[0] for k, v in sent(torch.tensor([0]), seed)[0].items()} for seed in (0, 1))
    drawn = _apart(alone, other) > 0
    changed: list[float] = []
    for size in _CROWDS:
        left, own = sent(torch.arange(size).flip(0), 0)
        mine = {name: value[-1] for name, value in left.items()}
        changed.append(torch.stack([(mine[name] - own[name][-1]).norm() for name in mine]).norm().item())
        if not drawn and not _apart(alone, mine) <= _ROUNDING:
            raise Broken(f"among {size} clients one sends something else than alone ({strength})", _FIX)
    if max(changed) > _ALIKE * min(changed):
        told = ", ".join(f"{value:.3g} of {size}" for size, value in zip(_CROWDS, changed, strict=True))
        raise Broken(
            f"how much of a client's release it changes depends on others: {told} clients ({strength})", _FIX
        )


def _apart(left: Gradients, right: Gradients) -> float:
    return max((right[name] - value).abs().max().item() for name, value in left.items())


def in_training(victim: Victim, places: Iterable[Source], again: Callable[[Source], Release]) -> None:
    """Compares how much a defense changed in the training of a victim and changes at its release.

    Args:
        victim: what was trained under it.
        places: where releases of the initial and of the trained weights come from, the defense made anew.
        again: makes them.

    Raises:
        Broken: one is not like the other.
    """
    noted = zip(places, victim.signal or (), ("first", "last"), (_ALIKE, _TRAINED), strict=False)
    for place, trained, turn, factor in noted:
        # A client of whom nothing was changed has no ratio; under some defenses half of them have none.
        each = sorted(value or torch.inf for value in signal(again(place), place, again) or (None,))
        low, high = each[len(each) // 4], each[-1 - len(each) // 4]
        if not low / factor <= (trained or torch.inf) <= factor * high:
            raise Broken(
                f"in the {turn} round of a training it changes {_part(trained)} of what leaves, at release "
                f"{_part(each[(len(each) - 1) // 2])}",
                "the same hooks run in training and at release, and have to do the same",
            )


def _part(ratio: float | None) -> str:
    return "nothing" if ratio is None or ratio == torch.inf else f"{1 / ratio:.3g}"
