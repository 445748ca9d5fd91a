"""What is asked of attacks on split learning alone; their other promises are those of every attack.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.api import Access, Checkpoint, Defense, IncompatibleError, SmashedObservation
from bench.check.attacks import limits as attack_limits
from bench.check.findings import Broken, Note, Skipped
from bench.check.materials import material, split_material
from bench.check.materials.split_trial import SMASHED
from bench.check.materials.trial import ReleaseTrial, card_of, run, run_apart
from bench.check.place import Subject
from bench.metrics import psnr

_PARTS = ("client", "query", "session", "auxiliary", "generator")


def access(subject: Subject) -> str:
    """It refuses to work without what its card declares, before some defense at least."""
    card, given = card_of(subject), SMASHED.plain(subject)
    asked = [part for part in _PARTS if getattr(given, part) is not None]
    if card.needs_generator and not card.needs_auxiliary:
        asked.remove("auxiliary")  # they come with what was learned from them
    for part in asked:
        if not any(_refuses(subject, SMASHED.seen(subject, 1, *view), part) for view in SMASHED.views(card)):
            raise Broken(
                f"works without observation.{part}, which its card asks for (access = {card.access}, "
                f"needs_auxiliary = {str(card.needs_auxiliary).lower()}, "
                f"needs_generator = {str(card.needs_generator).lower()})",
                "declare less, or raise IncompatibleError(reason)",
            )
    return f"needs what it declares: {', '.join(asked) or 'the activations alone'}"


def _refuses(subject: Subject, seen: SmashedObservation, part: str) -> bool:
    lacking: dict[str, Any] = {part: None}
    try:
        run(subject, replace(seen, **lacking))
    except IncompatibleError:
        return True
    return False


def batching(subject: Subject) -> str:
    """A victim's result does not depend on its neighbours: all at once equals one by one (in float64)."""
    if card_of(subject).access is Access.ACTIVE:
        raise Skipped("the clients of a session release all batches at once")
    return _unless_learned(attack_limits.batched_is_single, subject)


def useless(subject: Subject) -> str:
    """A release of zeros, NaN or infinity harms none of its neighbours."""
    return _unless_learned(attack_limits.useless_releases, subject)


def _unless_learned(promise: Callable[[Subject, ReleaseTrial], str], subject: Subject) -> str:
    """Who knows neither weights nor answers may learn the client's half from all releases together."""
    try:
        return promise(subject, SMASHED)
    except Broken as broken:
        if card_of(subject).access is Access.ARCHITECTURE:
            raise Note(
                broken.message,
                "fine if it learns the client's half from all releases: say so in card.toml; else "
                f"{broken.fix}",
            ) from None
        raise


def floor(subject: Subject) -> str:
    """It reaches its card's floor on the undefended victim, or its implementation is broken."""
    declared = card_of(subject).floor
    model = declared.model if declared else split_material.MODEL
    checkpoint = declared.checkpoint if declared else Checkpoint.TRAINED
    place = split_material.source(
        Defense(), releases=material.FLOOR_VICTIMS, model=model, checkpoint=checkpoint
    )
    sent = split_material.released(place)
    seen = split_material.observation(subject.name, place, sent, few=False)
    found = run_apart(subject, seen, budget=material.FLOOR_BUDGET)
    reached = psnr(found.images.flatten(0, 1), sent.images.flatten(0, 1)).mean().item()
    where = f"{reached:.1f} dB PSNR on the undefended {model}@{checkpoint}"
    if not card_of(subject).observes_release:
        return f"is a floor itself: {where}"
    if declared is None:
        raise Note(f"reaches {where}, but its card promises nothing", "add [floor] to card.toml")
    if reached < declared.psnr:
        raise Broken(f"reaches {where}, its card promises {declared.psnr:g} dB", "find the fault")
    return f"{where}, the card promises {declared.psnr:g} dB"
