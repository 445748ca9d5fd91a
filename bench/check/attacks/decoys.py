"""Whether an attack rebuilds what was released, or what it has found elsewhere.

Its observation is of decoys: the victim is the same, but the attacked images are blends of auxiliary ones,
which are in no data set. It attacks in a process of its own, which holds no private image.
"""

from __future__ import annotations

from typing import Any

from bench.api import Checkpoint, Defense
from bench.check.findings import Broken, Skipped
from bench.check.materials import material, split_material
from bench.check.materials.trial import card_of, run_apart
from bench.check.place import Subject
from bench.metrics import psnr
from bench.victims.releases import Release

_RELEASES, _BUDGET = 4, 200
_SAME = 30.0
"""In dB: a reconstruction so near to a private image shows that image."""
_CLEAR = 3.0
"""In dB: so much nearer it is to what would have been released but for the decoy, where it shows that; images
of an attack that has found nothing are about as far from one as from the other."""


def follows_decoys(subject: Subject) -> str:
    """It rebuilds what was released, also where that is in no data set."""
    card = card_of(subject)
    model = card.floor.model if card.floor else material.architecture()
    initial = not card.floor or card.floor.checkpoint is Checkpoint.INITIAL
    parameters = material.round_0(model) if initial else material.trained(model)
    sent = material.release(
        Defense(), batch_size=1, releases=_RELEASES, model=model, parameters=parameters, decoys=True
    )
    seen = material.observation(card, sent, model=model, parameters=parameters)
    return _followed(subject, seen, sent)


def follows_split_decoys(subject: Subject) -> str:
    """It rebuilds what was released, also where that is in no data set."""
    declared = card_of(subject).floor
    place = split_material.source(
        Defense(),
        releases=_RELEASES,
        model=declared.model if declared else split_material.MODEL,
        checkpoint=declared.checkpoint if declared else Checkpoint.TRAINED,
    )
    place = material.with_decoys(place)
    sent = split_material.released(place)
    return _followed(subject, split_material.observation(subject.name, place, sent), sent)


def _followed(subject: Subject, seen: Any, sent: Release) -> str:
    card = card_of(subject)
    if not card.observes_release or card.receives_pool:
        raise Skipped("ignores the release" if not card.observes_release else "chooses from a list")
    found = run_apart(subject, seen, budget=_BUDGET).images.flatten(0, 1)
    decoys, private = sent.images.flatten(0, 1), material.data().splits.private_train.images
    here = psnr(found, decoys)
    there = psnr(found, private[sent.indices.flatten()])
    known = [psnr(private, image.expand_as(private)).max().item() for image in found]
    stolen = [
        elsewhere > own + _CLEAR or (nearest > _SAME and nearest > own)
        for own, elsewhere, nearest in zip(here.tolist(), there.tolist(), known, strict=True)
    ]
    if 2 * sum(stolen) > len(stolen):
        raise Broken(
            f"{sum(stolen)} of {len(stolen)} reconstructions show private images that were not released, "
            f"instead of what was ({max(known):.1f} dB)",
            "an attack sees its observation and nothing else",
        )
    return f"{here.mean().item():.1f} dB PSNR to decoys, {there.mean().item():.1f} to the private images"
