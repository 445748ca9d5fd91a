"""What an attack spends, refuses and reaches, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.api import Checkpoint, GradientObservation, IncompatibleError, Reconstruction
from bench.check.findings import Broken, Note, Skipped
from bench.check.materials import material
from bench.check.materials.trial import GRADIENTS, ReleaseTrial, Seen, Trial, card_of, run, run_apart
from bench.check.place import Subject
from bench.metrics import psnr


def budget(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """It never spends more than its budget, and reports what it spent; a bound goes through its list."""
    spent, bound = 0.0, card_of(subject).receives_pool
    for allowed in (1, 2, material.BUDGET):
        for seen in trial.counted(subject):
            counter = trial.counter(seen)
            try:
                found = run(subject, seen, budget=allowed)
            finally:
                counter.close()
            reported, most = int(found.evaluations.sum()), int(found.evaluations.max())
            if most > allowed and not bound:
                raise Broken(
                    f"spends {most} evaluations on a {trial.release} of a budget of {allowed}",
                    "stop after budget evaluations, restarts included",
                )
            if counter.total > reported + 1e-6:
                raise Broken(
                    f"reports {reported} evaluations of {seen.victims} {trial.releases}, but "
                    f"{trial.spending} {counter.total:g} times (budget {allowed}, B = {seen.batch_size})",
                    "count every evaluation, those of discarded restarts and line searches included",
                )
            if counter.total == 0 and most > 1 and isinstance(seen, GradientObservation) and not bound:
                raise Broken(
                    f"reports {most} evaluations of a {trial.release}, of which none was seen",
                    "evaluate the gradients of observation.model, and count what was evaluated",
                )
            spent = max(spent, counter.total / seen.victims)
    return f"{'its list, ' if bound else 'obeyed and '}counted ({spent:g} of {material.BUDGET} seen)"


def batched_is_single(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """A victim's result does not depend on its neighbours: all at once equals one by one (in float64)."""
    if not card_of(subject).observes_release:
        raise Skipped("ignores the release")
    for plain in trial.cases(subject):
        try:
            seen = trial.exact(plain)
            together, exact = run(subject, seen), True
        except RuntimeError:  # it makes float32 tensors whatever the release is: allowed, but less exact
            seen = plain
            together, exact = run(subject, seen), False
        _check_alone(subject, seen, together, 1e-6 if exact else 1e-2, trial)
    return f"all {trial.releases} at once equal one by one"


def _check_alone(
    subject: Subject, seen: Seen, together: Reconstruction, tolerance: float, trial: Trial
) -> None:
    for victim in range(seen.victims):
        alone = run(subject, seen.select(torch.tensor([victim])))
        apart = (alone.images[0] - together.images[victim]).abs().max().item()
        same = bool(alone.evaluations[0] == together.evaluations[victim])
        if not apart <= tolerance or not same:
            raise Broken(
                f"{trial.release} {victim} of {seen.victims} is rebuilt otherwise alone than with its "
                f"neighbours (B = {seen.batch_size}; images differ by up to {apart:.2g})",
                "draw starts by observation.ids, and let no sum, norm or stopping rule run over victims; or "
                "decorate reconstruct with @per_victim",
            )


def useless_releases(subject: Subject, trial: ReleaseTrial = GRADIENTS) -> str:
    """A release of zeros, NaN or infinity harms none of its neighbours."""
    seen = trial.plain(subject)
    sound = run(subject, seen)
    for value in (0.0, torch.nan, torch.inf):
        found = run(subject, trial.spoiled(seen, 1, value))
        for victim in (0, 2):
            if not torch.allclose(found.images[victim], sound.images[victim], rtol=0, atol=1e-2):
                raise Broken(
                    f"a neighbour whose release is all {value:g} changes the others' reconstructions",
                    "reduce over one victim's entries only, and replace what is not finite in its own row",
                )
    return "zero, NaN and infinite releases harm no neighbour"


_LENT = {
    "needs_auxiliary": ("auxiliary", "images"),
    "needs_generator": ("generator",),
    "receives_pool": ("pool",),
}
"""What a card asks for, and the fields of an observation that hold it."""


def incompatibilities(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """What the card declares impossible is refused, and nothing else is."""
    card, refused = card_of(subject), []
    for seen in trial.plains(subject):
        try:
            run(subject, seen)
        except IncompatibleError as error:
            raise Broken(
                f"refuses B = {seen.batch_size}, which its card allows: {error}",
                "declare max_batch_size and max_batch_reason in card.toml, or handle it",
            ) from None
    if card.max_batch_size is not None:
        size = card.max_batch_size + 1
        _must_refuse(subject, trial.plain(subject, size), f"B = {size}", "max_batch_size")
        refused.append(f"B > {card.max_batch_size}")
    for need, fields in _LENT.items():
        if getattr(card, need):
            what = f"no {need.partition('_')[2]}"
            blind = trial.plain(subject)
            lacking: dict[str, Any] = {name: None for name in fields if hasattr(blind, name)}
            _must_refuse(subject, replace(blind, **lacking), f"an observation with {what}", need)
            refused.append(what)
    return f"refuses as declared: {', '.join(refused)}" if refused else "works with every batch size tried"


def _must_refuse(subject: Subject, seen: Seen, what: str, field: str) -> None:
    fix = f"raise IncompatibleError(reason), or drop {field} from card.toml"
    try:
        run(subject, seen)
    except IncompatibleError:
        return
    except Exception as error:
        raise Broken(f"{what}: raises {type(error).__name__}, not IncompatibleError: {error}", fix) from None
    raise Broken(f"{what}: works, though {field} in the card says that it cannot", fix)


def floor(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """It reaches its card's floor on the undefended victim, or its implementation is broken."""
    card = card_of(subject)
    declared = card.floor
    model, checkpoint = (declared.model, declared.checkpoint) if declared else _default_floor()
    seen, released = trial.at_floor(subject, model, checkpoint)
    found = run_apart(subject, seen, budget=material.FLOOR_BUDGET)
    reached = psnr(found.images.flatten(0, 1), released.images.flatten(0, 1)).mean().item()
    where = f"{reached:.1f} dB PSNR on the undefended {model}@{checkpoint}"
    if declared is None:
        if not card.observes_release:
            return f"is a floor itself: {where}"
        raise Note(
            f"reaches {where}, but its card promises nothing",
            f'add to card.toml: [floor] model = "{model}", checkpoint = "{checkpoint}", psnr = ...',
        )
    if reached < declared.psnr:
        raise Broken(
            f"reaches {where}, its card promises {declared.psnr:g} dB",
            f"find the fault, or lower floor.psnr; {material.FLOOR_VICTIMS} releases, budget "
            f"{material.FLOOR_BUDGET}",
        )
    return f"{where}, the card promises {declared.psnr:g} dB"


def _default_floor() -> tuple[str, Checkpoint]:
    return material.architecture(), Checkpoint.INITIAL
