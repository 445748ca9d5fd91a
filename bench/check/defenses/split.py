"""What a defense of split learning changes, tells and costs, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from bench.api import Defense, Splits
from bench.check.card import build
from bench.check.defenses.alike import in_training
from bench.check.defenses.promises import card_of, strengths
from bench.check.findings import Broken, Note, Skipped
from bench.check.guard import no_global_randomness
from bench.check.materials import material, split_material
from bench.check.place import Subject
from bench.victims.releases import Source
from bench.victims.split import train_split

_IMAGES, _TEST, _EPOCHS = 640, 200, 2
"""A trial of 40 rounds: it proves that the protocol runs, and is no result."""


def _sent(place: Source, *, chance: int = 0) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        return next(iter(split_material.released(place).sent.values()))


def shapes(subject: Subject) -> str:
    """Finite activations leave, one for each image."""
    for strength, hooks in strengths(subject):
        sent = _sent(split_material.source(hooks, batch_size=2))
        if tuple(sent.shape[:2]) != (material.VICTIMS, 2) or not sent.isfinite().all():
            raise Broken(
                f"sends {tuple(sent.shape)}, or what is not finite ({strength})", "keep [N, B, *Z], finite"
            )
    return "one finite activation for each image"


def changes(subject: Subject) -> str:
    """The release or the training is another one than without it."""
    hooks, card = cast("Defense", build(subject)), card_of(subject)
    if not card.adaptive_view and not card.parameters:
        raise Skipped("declares that there is nothing to adapt to")
    plain, own = split_material.source(Defense()), split_material.source(hooks)
    left, right = _sent(plain), _sent(own)
    if left.shape != right.shape or not torch.equal(left, right):
        return "something else leaves"
    value = torch.linspace(0, 1, left[0].numel()).view_as(left[:1]).requires_grad_()
    inputs = torch.rand(1, 1, *material.shape()["image_shape"])
    both = torch.cat([value, value.detach().flip(0) * 0.5 + 0.1], dim=1)
    loss = hooks.loss(torch.cat([inputs, 1 - inputs], dim=1), both, own.context())
    if not loss.requires_grad:
        raise Broken("neither the release nor the loss depends on it", "let a hook change something")
    return "the clients minimise something else"


def deterministic(subject: Subject) -> str:
    """The same generator gives the same release, whatever the global random state is."""
    hooks, card = cast("Defense", build(subject)), card_of(subject)
    place = split_material.source(hooks)
    if not torch.equal(_sent(place, chance=1), _sent(place, chance=2)):
        raise Broken("two releases with the same generator differ", "pass generator=context.generator")
    other = _other_draw(hooks, place)
    if other != card.random:
        raise Note(
            f"draws anew: {other}, but the card says random = {str(card.random).lower()}",
            f"write random = {str(other).lower()} in card.toml",
        )
    return "one generator state, one release" + ("; another one, another" if other else "")


def _other_draw(hooks: Defense, place: Source) -> bool:
    """Whether another state of the generator gives another release of the same activations."""
    plain = torch.rand(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    first, second = (
        hooks.smashed(plain, replace(place.context(), generator=torch.Generator().manual_seed(seed)))
        for seed in (0, 1)
    )
    return not torch.equal(first, second)


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    hooks = cast("Defense", build(subject))
    place = split_material.source(hooks)
    with no_global_randomness():
        split_material.released(place)
    return "torch, numpy and random stay where they were"


def clients_apart(subject: Subject) -> str:
    """What one client sends depends on no other client."""
    hooks = cast("Defense", build(subject))
    place = split_material.source(hooks)
    before = _sent(place)
    images = place.private.images.clone()
    changed = split_material.released(place).indices[0, 0]
    images[changed] = 1 - images[changed]
    after = _sent(replace(place, private=replace(place.private, images=images)))
    if not torch.allclose(before[1:], after[1:], rtol=0, atol=1e-5):
        raise Broken("another client's image changes what a client sends", "reduce over one image's entries")
    return "no client's release depends on another's"


def view(subject: Subject) -> str:
    """The adaptive attacker's view is there if the card says so, and complete."""
    hooks, card = cast("Defense", build(subject)), card_of(subject)
    seen = hooks.known()
    if (seen is not None) != card.adaptive_view:
        raise Broken(
            f"view() is {'there' if seen else 'None'}, the card says adaptive_view = "
            f"{str(card.adaptive_view).lower()}",
            "an adaptive attacker knows the defense: return DefenseView(parameters=...)",
        )
    if seen is None:
        return "none, as declared"
    if set(seen.parameters) != set(card.parameters):
        raise Broken("view() does not tell every parameter of the card", "Kerckhoffs: give all away")
    parts = ("negative_log_likelihood", "transmitted", "release", "transform")
    given = [name for name in parts if getattr(seen, name) is not None]
    return f"parameters, {', '.join(given) or 'nothing else'}"


def utility(subject: Subject) -> str:
    """A network trains under it, which changes as much there as at release, and reports its accuracy."""
    splits = material.data().splits
    found = train_split(
        model=split_material.MODEL,
        splits=Splits(
            private_train=material.few(splits.private_train, _IMAGES),
            private_test=material.few(splits.private_test, _TEST),
            auxiliary=splits.auxiliary,
        ),
        defense=cast("Defense", build(subject)),
        epochs=_EPOCHS,
        seed=0,
        device=material.CPU,
        **material.shape(),
    )
    if not all(value.isfinite().all() for value in found.trained.values()):
        raise Broken("the weights are not finite after training under it", "keep activations at their scale")
    places = (
        split_material.source(cast("Defense", build(subject)), parameters=weights)
        for weights in (found.initial, found.trained)
    )
    in_training(found, places, split_material.released)
    if len(found.details) > 20:
        raise Broken(f"details() gives {len(found.details)} numbers", "at most 20: a record is 5 kB")
    return f"accuracy {found.accuracy:.2f} after {found.rounds} rounds"
