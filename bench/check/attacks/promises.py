"""What an attack returns and where it looks, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from bench.api import BaseAttack, PluginError, Reconstruction
from bench.api.cards import AttackCard
from bench.cells.reconstructions import check_reconstruction
from bench.check.card import build
from bench.check.findings import Broken
from bench.check.guard import guarded, no_files, no_global_randomness
from bench.check.materials import material
from bench.check.materials.trial import GRADIENTS, Seen, Trial, card_of, fresh, run
from bench.check.place import Subject, import_anew
from bench.engine.labels import UNKNOWN
from bench.plugins import find

_UNIT = 10.0
"""Grey values beyond this are no dummy of a standard normal start but another unit, such as 0..255."""


def observes_only(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """It reads no undeclared field of the observation, no file, and leaves the observation as it was."""
    import_anew(subject)  # a file that was read once may be remembered
    for seen in trial.plains(subject):
        before = [value.clone() for value in trial.shown(seen)]
        with no_files(subject.folder, find("attack", subject.name).folder):
            run(subject, guarded(seen, card_of(subject)))
        if not all(map(torch.equal, before, trial.shown(seen))):
            raise Broken("changes the observation in place", "clone() what it changes")
    return "reads nothing but the declared fields of its observation"


def shapes(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """Images, cost, evaluations and labels have the promised shapes and types, for every batch size."""
    cases = 0
    for seen in trial.cases(subject):
        found = run(subject, seen)
        shape = (seen.victims, seen.batch_size, *seen.image_shape)
        try:
            check_reconstruction(found, shape, subject.name)
        except PluginError as error:
            raise Broken(
                f"{error} (B = {seen.batch_size}, {seen.threat.adversary})",
                "images are float32 [N, B, C, H, W], the rest [N]",
            ) from None
        _check_types(found, card_of(subject), seen)
        cases += 1
    return f"as promised, in {cases} cases"


def _check_types(found: Reconstruction, card: AttackCard, seen: Seen) -> None:
    if found.images.requires_grad or found.cost.requires_grad:
        raise Broken("returns tensors that still carry a graph", "detach() the images and the cost")
    if not found.cost.is_floating_point():
        raise Broken(f"cost is {found.cost.dtype}", "return the cost that the attacker saw, as floats")
    if found.evaluations.dtype != torch.int64:
        raise Broken(f"evaluations are {found.evaluations.dtype}", "count them as int64")
    if found.labels is not None:
        if found.labels.dtype != torch.int64:
            raise Broken(f"labels are {found.labels.dtype}", "return class numbers as int64")
        if found.labels.min() < UNKNOWN or found.labels.max() >= seen.num_classes:
            raise Broken(
                f"labels lie outside 0..{seen.num_classes - 1}",
                f"return class numbers, or {UNKNOWN} for unknown",
            )
    if card.observes_release and (found.evaluations < 1).any():
        raise Broken("reports no evaluation of some release", "count every gradient evaluation of the dummy")


def values(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """Images and costs are finite, in grey values from 0 to 1."""
    for seen in trial.each(subject):
        found = run(subject, seen)
        for name, value in (("images", found.images), ("cost", found.cost)):
            if not value.isfinite().all():
                raise Broken(
                    f"{name} are not finite on ordinary releases ({seen.threat.adversary})",
                    "find the division or the log of zero",
                )
        tail = found.images.abs().flatten().quantile(0.99).item()
        if tail > _UNIT:
            raise Broken(
                f"1 % of the grey values exceed {tail:.0f}: images must be in [0, 1]",
                "divide by 255, or undo the normalisation: it belongs to the model, never to the images",
            )
    return "finite, in the unit of the images"


def deterministic(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """The same seed gives the same reconstruction, whatever the global random state is."""
    for seen in trial.each(subject):
        first, second = (run(subject, seen, seed=3, chance=chance) for chance in (1, 2))
        for name in ("images", "cost", "evaluations", "labels"):
            left, right = getattr(first, name), getattr(second, name)
            if (left is None) != (right is None) or not (left is None or torch.equal(left, right)):
                raise Broken(
                    f"{name} differ between two runs with the same seed",
                    "draw all randomness from torch.Generator().manual_seed(seed), or from "
                    "bench.engine.parametrise.starts",
                )
    return "two runs with one seed are equal"


def global_state(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """It neither reads nor moves global random state."""
    seen = fresh(trial.plain(subject))
    attack = cast("BaseAttack[Any]", build(subject))
    with no_global_randomness():
        attack.reconstruct(seen, budget=material.BUDGET, seed=0)
    return "torch, numpy and random stay where they were"
