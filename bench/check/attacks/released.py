"""What an attack on a released classifier finds; its other promises are those of every attack."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import BlackBoxObservation, Checkpoint, Defense, ModelAccess, ModelObservation
from bench.check.findings import Broken, Note
from bench.check.materials import released_material
from bench.check.materials.trial import card_of, run
from bench.check.place import Subject
from bench.metrics import psnr

_CLASSES, _IMAGES, _BUDGET = 5, 2, 300
"""Images of each class, and what may be spent on each."""


def aim(subject: Subject) -> str:
    """The classifier sees the target in its images; they reach its card's floor if there is one."""
    card = card_of(subject)
    place = released_material.source(
        Defense(), released_material.victim("").trained, batch_size=_IMAGES, classes=_CLASSES
    )
    seen = released_material.observation(subject, place)
    found = run(subject, seen, budget=_BUDGET)
    images = found.images.clamp(0, 1)
    answers = _classes(seen, images.flatten(0, 1)).view(_CLASSES, _IMAGES)
    hits = (answers == seen.targets[:, None]).float().mean().item()
    said = f"the classifier sees the target in {hits:.0%} of its images"
    if card.floor is not None and card.floor.checkpoint is Checkpoint.TRAINED:
        reached = _nearest(images, place.private.images, place.private.labels)
        said += f"; {reached:.1f} dB PSNR to the nearest private image, the card promises {card.floor.psnr:g}"
        if reached < card.floor.psnr:
            raise Broken(said, "find the fault, or lower floor.psnr")
    if card.observes_release and hits < 2 / seen.num_classes - 1e-3:
        raise Note(
            f"{said}, as by guessing ({1 / seen.num_classes:.0%})",
            "fine for a control; else find out why it does not reach its target with a budget of "
            f"{_BUDGET} and a small generator",
        )
    return said


@torch.no_grad()
def _classes(seen: ModelObservation, images: Tensor) -> Tensor:
    """What the classifier takes images ``[M, C, H, W]`` for."""
    if not isinstance(seen, BlackBoxObservation):
        found: Tensor = seen.model(images).argmax(1)
        return found
    answers = seen.query(images)
    return answers if seen.access is ModelAccess.LABEL else answers.argmax(1)


def _nearest(images: Tensor, private: Tensor, labels: Tensor) -> float:
    """Mean PSNR in dB of ``[N, B, C, H, W]`` to the nearest private image of class n."""
    reached = []
    for target, rows in enumerate(images):
        known = private[labels == target]
        reached += [psnr(known, image.expand_as(known)).max() for image in rows]
    return torch.stack(reached).mean().item()
