"""What an attack on split learning returns, spends and reaches, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch

from bench.api import (
    Adversary,
    BaseAttack,
    Channel,
    Checkpoint,
    Defense,
    IncompatibleError,
    PluginError,
    Reconstruction,
    SmashedObservation,
)
from bench.check import material, split_material
from bench.check.card import build
from bench.check.findings import Broken, Note
from bench.check.guard import no_files, no_global_randomness
from bench.check.place import Subject
from bench.check.trial import card_of
from bench.metrics import psnr
from bench.plugins import build_defense, defense_card, discover, find
from bench.runs.reconstructions import check_reconstruction
from bench.victims.releases import Release

_SIZES = (1, 2)
_PARTS = ("client", "query", "session", "auxiliary")


def _views(subject: Subject) -> Iterator[tuple[Adversary, Defense]]:
    """The naive attacker, and the adaptive one before every defense of this channel that it can adapt to."""
    card = card_of(subject)
    if Adversary.NAIVE in card.adversaries:
        yield Adversary.NAIVE, Defense()
    if Adversary.ADAPTIVE in card.adversaries:
        for name in sorted(discover("defense").plugins):
            guard = defense_card(name)
            if Channel.SMASHED in guard.channels and guard.adaptive_view:
                yield Adversary.ADAPTIVE, build_defense(name, {})


def _seen(subject: Subject, adversary: Adversary, defense: Defense, size: int = 1) -> SmashedObservation:
    place = split_material.source(defense, batch_size=size)
    sent = split_material.released(place)
    return split_material.observation(subject.name, place, sent, adversary=adversary)


def _plain(subject: Subject) -> SmashedObservation:
    return _seen(subject, *next(_views(subject)))


def _run(
    subject: Subject,
    seen: SmashedObservation,
    *,
    budget: int = material.BUDGET,
    seed: int = 0,
    chance: int = 0,
) -> Reconstruction:
    attack = cast("BaseAttack[Any]", build(subject))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        return attack.reconstruct(seen, budget=budget, seed=seed)


def shapes(subject: Subject) -> str:
    """Images, cost, evaluations and labels have the promised shapes, against every defense of the channel."""
    cases = 0
    for adversary, defense in _views(subject):
        for size in _SIZES:
            found = _run(subject, _seen(subject, adversary, defense, size))
            originals = torch.empty(material.VICTIMS, size, *material.shape()["image_shape"])
            try:
                check_reconstruction(found, originals, subject.name)
            except PluginError as error:
                raise Broken(
                    f"{error} (B = {size}, {adversary})", "images are float32 [N, B, C, H, W], the rest [N]"
                ) from None
            if found.images.requires_grad or found.cost.requires_grad:
                raise Broken("returns tensors that still carry a graph", "detach() the images and the cost")
            if not found.images.isfinite().all() or not found.cost.isfinite().all():
                raise Broken(f"images or costs are not finite ({adversary})", "find the division by zero")
            cases += 1
    return f"as promised, in {cases} cases"


def observes_only(subject: Subject) -> str:
    """It opens no file, and leaves its observation as it was."""
    seen = _plain(subject)
    before = [value.clone() for value in split_material.shown(seen)]
    with no_files(subject.folder, find("attack", subject.name).folder):
        _run(subject, seen)
    if not all(map(torch.equal, before, split_material.shown(seen))):
        raise Broken(
            "changes the observation in place", "deepcopy() a module, clone() a tensor, then change it"
        )
    return "opens no file and changes nothing that it was given"


def access(subject: Subject) -> str:
    """It refuses to work without what its card declares, before some defense at least."""
    card, given = card_of(subject), _plain(subject)
    asked = [part for part in _PARTS if getattr(given, part) is not None]
    for part in asked:
        if not any(_refuses(subject, _seen(subject, *view), part) for view in _views(subject)):
            raise Broken(
                f"works without observation.{part}, which its card asks for (access = {card.access}, "
                f"needs_auxiliary = {str(card.needs_auxiliary).lower()})",
                "declare less, or raise IncompatibleError(reason)",
            )
    return f"needs what it declares: {', '.join(asked) or 'the activations alone'}"


def _refuses(subject: Subject, seen: SmashedObservation, part: str) -> bool:
    lacking: dict[str, Any] = {part: None}
    try:
        _run(subject, replace(seen, **lacking))
    except IncompatibleError:
        return True
    return False


def deterministic(subject: Subject) -> str:
    """The same seed gives the same reconstruction, whatever the global random state is."""
    for adversary, defense in _views(subject):
        first, second = (
            _run(subject, _seen(subject, adversary, defense), seed=3, chance=chance) for chance in (1, 2)
        )
        if not torch.equal(first.images, second.images):
            raise Broken(
                f"images differ between two runs with the same seed ({adversary})",
                "draw all randomness from torch.Generator().manual_seed(seed)",
            )
    return "two runs with one seed are equal"


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    seen = _plain(subject)
    attack = cast("BaseAttack[Any]", build(subject))
    with no_global_randomness():
        attack.reconstruct(seen, budget=material.BUDGET, seed=0)
    return "torch, numpy and random stay where they were"


def budget(subject: Subject) -> str:
    """It never reports more than its budget."""
    for allowed in (1, 2, material.BUDGET):
        most = int(_run(subject, _plain(subject), budget=allowed).evaluations.max())
        if most > allowed:
            raise Broken(f"spends {most} of a budget of {allowed}", "stop after budget evaluations or steps")
    return "obeyed"


def floor(subject: Subject) -> str:
    """It reaches its card's floor on the undefended victim, or its implementation is broken."""
    declared = card_of(subject).floor
    model = declared.model if declared else split_material.MODEL
    checkpoint = declared.checkpoint if declared else Checkpoint.TRAINED
    place = split_material.source(
        Defense(), releases=material.FLOOR_VICTIMS, model=model, checkpoint=checkpoint
    )
    sent: Release = split_material.released(place)
    seen = split_material.observation(subject.name, place, sent, few=False)
    found = _run(subject, seen, budget=material.FLOOR_BUDGET)
    reached = psnr(found.images.flatten(0, 1), sent.images.flatten(0, 1)).mean().item()
    where = f"{reached:.1f} dB PSNR on the undefended {model}@{checkpoint}"
    if declared is None:
        raise Note(f"reaches {where}, but its card promises nothing", "add [floor] to card.toml")
    if reached < declared.psnr:
        raise Broken(f"reaches {where}, its card promises {declared.psnr:g} dB", "find the fault")
    return f"{where}, the card promises {declared.psnr:g} dB"
