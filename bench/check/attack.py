"""The promises of an attack, each a function: it returns what it found, or raises what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from bench.api import (
    Adversary,
    Attack,
    Defense,
    GradientObservation,
    IncompatibleError,
    PluginError,
    Reconstruction,
)
from bench.api.cards import AttackCard
from bench.check import material
from bench.check.card import build
from bench.check.findings import Broken, Note, Skipped
from bench.check.guard import Evaluations, guarded, no_files, no_global_randomness
from bench.check.place import Subject
from bench.metrics import psnr
from bench.plugins import attack_card, build_defense, defense_card, discover
from bench.runs.stages import check_reconstruction

_UNIT = 10.0
"""Grey values beyond this are no dummy of a standard normal start but another unit, such as 0..255."""
_LARGER_BATCH = 4


def _card(subject: Subject) -> AttackCard:
    return attack_card(subject.name)


def sizes(card: AttackCard) -> list[int]:
    """The batch sizes to try: the smallest, and a larger one if the card allows it."""
    return [size for size in (1, _LARGER_BATCH) if card.max_batch_size is None or size <= card.max_batch_size]


def views(card: AttackCard) -> Iterator[tuple[Adversary, Defense]]:
    """The naive attacker, and the adaptive one before each kind of view that a defense can give."""
    if Adversary.NAIVE in card.adversaries:
        yield Adversary.NAIVE, Defense()
    if Adversary.ADAPTIVE not in card.adversaries:
        return
    kinds = set()
    for name in sorted(discover("defense").plugins):
        defense = build_defense(name, {}) if defense_card(name).adaptive_view else None
        view = defense.view() if defense else None
        if defense and view:
            kind = (view.negative_log_likelihood is None, view.transmitted is None)
            if kind not in kinds:
                kinds.add(kind)
                yield Adversary.ADAPTIVE, defense


def _seen(card: AttackCard, size: int = 1) -> GradientObservation:
    """The first admitted attacker's observation of undefended or defended clients."""
    adversary, defense = next(views(card))
    released = material.release(defense, batch_size=size)
    return material.observation(card, released, adversary=adversary, defense=defense)


def _run(
    subject: Subject,
    seen: GradientObservation,
    *,
    budget: int = material.BUDGET,
    seed: int = 0,
    chance: int = 0,
) -> Reconstruction:
    """One attack, from a known global random state: only two promises ask what that does."""
    attack = cast("Attack", build(subject))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        return attack.reconstruct(seen, budget=budget, seed=seed)


def observes_only(subject: Subject) -> str:
    """It reads no undeclared field of the observation, no file, and leaves the observation as it was."""
    card = _card(subject)
    for size in sizes(card):
        seen = _seen(card, size)
        before = [value.clone() for value in _tensors(seen)]
        with no_files(subject.folder):
            _run(subject, guarded(seen, card))
        if not all(map(torch.equal, before, _tensors(seen))):
            raise Broken("changes the observation in place", "clone() what it changes")
    return "reads nothing but the declared fields of its observation"


def _tensors(seen: GradientObservation) -> list[Tensor]:
    return [*seen.gradients.values(), *seen.parameters.values(), *seen.model.state_dict().values(), seen.ids]


def shapes(subject: Subject) -> str:
    """Images, cost, evaluations and labels have the promised shapes and types, for every batch size."""
    card, cases = _card(subject), 0
    for size in sizes(card):
        for adversary, defense in views(card):
            released = material.release(defense, batch_size=size)
            seen = material.observation(card, released, adversary=adversary, defense=defense)
            found = _run(subject, seen)
            try:
                check_reconstruction(found, released.images, subject.name)
            except PluginError as error:
                raise Broken(
                    f"{error} (B = {size}, {adversary})", "images are float32 [N, B, C, H, W], the rest [N]"
                ) from None
            _check_types(found, card, seen)
            cases += 1
    return f"as promised, in {cases} cases"


def _check_types(found: Reconstruction, card: AttackCard, seen: GradientObservation) -> None:
    if found.images.requires_grad or found.cost.requires_grad:
        raise Broken("returns tensors that still carry a graph", "detach() the images and the cost")
    if not found.cost.is_floating_point():
        raise Broken(f"cost is {found.cost.dtype}", "return the cost that the attacker saw, as floats")
    if found.evaluations.dtype != torch.int64:
        raise Broken(f"evaluations are {found.evaluations.dtype}", "count them as int64")
    if found.labels is not None:
        if found.labels.dtype != torch.int64:
            raise Broken(f"labels are {found.labels.dtype}", "return class numbers as int64")
        if found.labels.min() < 0 or found.labels.max() >= seen.num_classes:
            raise Broken(f"labels lie outside 0..{seen.num_classes - 1}", "return class numbers")
    if card.observes_release and (found.evaluations < 1).any():
        raise Broken("reports no evaluation of some release", "count every gradient evaluation of the dummy")


def values(subject: Subject) -> str:
    """Images and costs are finite, in grey values from 0 to 1."""
    card = _card(subject)
    for size in sizes(card):
        found = _run(subject, _seen(card, size))
        for name, value in (("images", found.images), ("cost", found.cost)):
            if not value.isfinite().all():
                raise Broken(
                    f"{name} are not finite on ordinary releases", "find the division or the log of zero"
                )
        tail = found.images.abs().flatten().quantile(0.99).item()
        if tail > _UNIT:
            raise Broken(
                f"1 % of the grey values exceed {tail:.0f}: images must be in [0, 1]",
                "divide by 255, or undo the normalisation: it belongs to the model, never to the images",
            )
    return "finite, in the unit of the images"


def deterministic(subject: Subject) -> str:
    """The same seed gives the same reconstruction, whatever the global random state is."""
    card = _card(subject)
    for size in sizes(card):
        seen = _seen(card, size)
        first, second = (_run(subject, seen, seed=3, chance=chance) for chance in (1, 2))
        for name in ("images", "cost", "evaluations", "labels"):
            left, right = getattr(first, name), getattr(second, name)
            if (left is None) != (right is None) or not (left is None or torch.equal(left, right)):
                raise Broken(
                    f"{name} differ between two runs with the same seed",
                    "draw all randomness from torch.Generator().manual_seed(seed), or from "
                    "bench.engine.parametrise.starts",
                )
    return "two runs with one seed are equal"


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    seen = _seen(_card(subject))
    attack = cast("Attack", build(subject))
    with no_global_randomness():
        attack.reconstruct(seen, budget=material.BUDGET, seed=0)
    return "torch, numpy and random stay where they were"


def budget(subject: Subject) -> str:
    """It never spends more than its budget, and reports what it spent."""
    card, spent = _card(subject), 0.0
    for allowed in (1, 2, material.BUDGET):
        for size in sizes(card):
            seen = _seen(card, size)
            counter = Evaluations(seen)
            try:
                found = _run(subject, seen, budget=allowed)
            finally:
                counter.close()
            reported, most = int(found.evaluations.sum()), int(found.evaluations.max())
            if most > allowed:
                raise Broken(
                    f"spends {most} evaluations on a release of a budget of {allowed}",
                    "stop after budget evaluations, restarts included",
                )
            if counter.total > reported + 1e-6:
                raise Broken(
                    f"reports {reported} evaluations of {material.VICTIMS} releases, but evaluated the "
                    f"victim's gradients {counter.total:g} times (budget {allowed}, B = {size})",
                    "count every evaluation, those of discarded restarts and line searches included",
                )
            spent = max(spent, counter.total / material.VICTIMS)
    return f"obeyed and counted ({spent:g} of {material.BUDGET} seen)"


def batched_is_single(subject: Subject) -> str:
    """A victim's result does not depend on its neighbours: all at once equals one by one (in float64)."""
    card = _card(subject)
    if not card.observes_release:
        raise Skipped("ignores the release")
    for size in sizes(card):
        for adversary, defense in views(card):
            released = material.release(defense, batch_size=size)
            seen = material.observation(card, released, adversary=adversary, defense=defense)
            try:
                seen = material.in_float64(seen)
                together, exact = _run(subject, seen), True
            except RuntimeError:  # it makes float32 tensors whatever the release is: allowed, but less exact
                seen = material.observation(card, released, adversary=adversary, defense=defense)
                together, exact = _run(subject, seen), False
            _check_alone(subject, seen, together, 1e-6 if exact else 1e-2)
    return "all releases at once equal one by one"


def _check_alone(
    subject: Subject, seen: GradientObservation, together: Reconstruction, tolerance: float
) -> None:
    for victim in range(seen.victims):
        alone = _run(subject, seen.select(torch.tensor([victim])))
        apart = (alone.images[0] - together.images[victim]).abs().max().item()
        same = bool(alone.evaluations[0] == together.evaluations[victim])
        if not apart <= tolerance or not same:
            raise Broken(
                f"release {victim} of {seen.victims} is rebuilt otherwise alone than with its neighbours "
                f"(B = {seen.batch_size}; images differ by up to {apart:.2g})",
                "draw starts by observation.ids, and let no sum, norm or stopping rule run over victims; or "
                "decorate reconstruct with @per_victim",
            )


def useless_releases(subject: Subject) -> str:
    """A release of zeros, NaN or infinity harms none of its neighbours."""
    card = _card(subject)
    seen = _seen(card)
    sound = _run(subject, seen)
    for value in (0.0, torch.nan, torch.inf):
        broken = {name: tensor.clone() for name, tensor in seen.gradients.items()}
        for tensor in broken.values():
            tensor[1] = value
        found = _run(subject, replace(seen, gradients=broken))
        for victim in (0, 2):
            if not torch.allclose(found.images[victim], sound.images[victim], rtol=0, atol=1e-2):
                raise Broken(
                    f"a neighbour whose release is all {value:g} changes the others' reconstructions",
                    "reduce over one victim's entries only, and replace what is not finite in its own row",
                )
    return "zero, NaN and infinite releases harm no neighbour"


def incompatibilities(subject: Subject) -> str:
    """What the card declares impossible is refused, and nothing else is."""
    card, refused = _card(subject), []
    for size in sizes(card):
        try:
            _run(subject, _seen(card, size))
        except IncompatibleError as error:
            raise Broken(
                f"refuses B = {size}, which its card allows: {error}",
                "declare max_batch_size and max_batch_reason in card.toml, or handle it",
            ) from None
    if card.max_batch_size is not None:
        size = card.max_batch_size + 1
        released = material.release(Defense(), batch_size=size)
        _must_refuse(subject, material.observation(card, released), f"B = {size}", "max_batch_size")
        refused.append(f"B > {card.max_batch_size}")
    if card.needs_auxiliary:
        _must_refuse(subject, replace(_seen(card), auxiliary=None), "an observation without auxiliary images",
                     "needs_auxiliary")  # fmt: skip
        refused.append("no auxiliary images")
    return f"refuses as declared: {', '.join(refused)}" if refused else "works with every batch size tried"


def _must_refuse(subject: Subject, seen: GradientObservation, what: str, field: str) -> None:
    fix = f"raise IncompatibleError(reason), or drop {field} from card.toml"
    try:
        _run(subject, seen)
    except IncompatibleError:
        return
    except Exception as error:
        raise Broken(f"{what}: raises {type(error).__name__}, not IncompatibleError: {error}", fix) from None
    raise Broken(f"{what}: works, though {field} in the card says that it cannot", fix)


def floor(subject: Subject) -> str:
    """It reaches its card's floor on the undefended victim, or its implementation is broken."""
    card = _card(subject)
    declared = card.floor
    model, checkpoint = (declared.model, declared.checkpoint) if declared else _default_floor()
    seen, released = material.at_floor(card, model, checkpoint)
    found = _run(subject, seen, budget=material.FLOOR_BUDGET)
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


def _default_floor() -> tuple[str, Any]:
    from bench.api import Checkpoint

    return material.architecture(), Checkpoint.INITIAL
