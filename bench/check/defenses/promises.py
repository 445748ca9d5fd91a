"""What the hooks of a defense do, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from bench.api import Defense, Gradients, HookContext
from bench.api.cards import DefenseCard
from bench.check.card import build
from bench.check.findings import Broken, Note
from bench.check.guard import no_global_randomness
from bench.check.materials import material
from bench.check.place import Subject
from bench.plugins import build_defense, defense_card


def card_of(subject: Subject) -> DefenseCard:
    """The defense's card."""
    return defense_card(subject.name)


def strengths(subject: Subject) -> Iterator[tuple[str, Defense]]:
    """The default, and both ends of the swept parameter's range."""
    card = card_of(subject)
    yield "default", cast("Defense", build(subject))
    if card.strength:
        swept = card.parameters[card.strength]
        for end in (swept.minimum, swept.maximum):
            if end is not None:
                value = type(swept.default)(end)
                yield (
                    f"{card.strength}={value}",
                    build_defense(subject.name, {**subject.parameters, card.strength: value}),
                )


def context(seed: int = 0, images: Tensor | None = None, labels: Tensor | None = None) -> HookContext:
    """What a hook may use, fresh; beside gradients, whose images ``[N, B, ...]`` they are."""
    known = None if images is None or labels is None else material.clients(images, labels)
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1, clients=known)


def raw() -> tuple[Gradients, Tensor, Tensor]:
    """Undefended gradients, and the images and labels they come from."""
    released = material.release(Defense(), batch_size=1)
    return {k: v.clone() for k, v in released.sent.items()}, released.images, released.labels


def _through(
    hooks: Defense, gradients: Gradients, images: Tensor, labels: Tensor, *, chance: int = 0
) -> tuple[Gradients, Tensor]:
    """What leaves and what is trained on, from a known global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        shown, named = hooks.inputs(images, labels, context())
        return hooks.gradients(gradients, context(0, shown, named)), shown


def alike(left: Gradients, right: Gradients) -> bool:
    """Whether two releases are equal, bit by bit."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def shapes(subject: Subject) -> str:
    """The hooks keep names, shapes, types and finite values, and change nothing in place."""
    for strength, hooks in strengths(subject):
        plain, images, labels = raw()
        kept = images.clone()
        sent = hooks.gradients(plain, context(0, images, labels))
        _check_sent(sent, plain, strength)
        if not alike(plain, raw()[0]):
            raise Broken(f"gradients: changes its argument in place ({strength})", "return new tensors")
        shown, named = hooks.inputs(images, labels, context())
        if shown.shape != images.shape or shown.dtype != images.dtype:
            raise Broken(
                f"inputs: images {tuple(images.shape)} become {tuple(shown.shape)} of {shown.dtype} "
                f"({strength})",
                "keep shape and dtype of the images",
            )
        if not shown.isfinite().all():
            raise Broken(f"inputs: images are not finite ({strength})", "keep them finite")
        if named.shape[:2] != labels.shape:
            raise Broken(
                f"inputs: labels have shape {tuple(named.shape)} ({strength})", "keep one for each image"
            )
        if not torch.equal(images, kept):
            raise Broken(f"inputs: changes the images in place ({strength})", "return new tensors")
    return "names, shapes, types and finite values are kept"


def _check_sent(sent: Gradients, plain: Gradients, strength: str) -> None:
    if not hasattr(sent, "keys") or list(sent) != list(plain):
        raise Broken(
            f"gradients: other parameter names leave than came ({strength})", "keep all names, in order"
        )
    for name, value in plain.items():
        if sent[name].shape != value.shape or sent[name].dtype != value.dtype:
            raise Broken(
                f"gradients: {name} {tuple(value.shape)} becomes {tuple(sent[name].shape)} of "
                f"{sent[name].dtype} ({strength})",
                "keep the shape [N, ...] and the dtype of every parameter",
            )
        if not sent[name].isfinite().all():
            raise Broken(f"gradients: {name} is not finite ({strength})", "find the division by zero")


def deterministic(subject: Subject) -> str:
    """The same generator gives the same release, whatever the global random state is."""
    for strength, hooks in strengths(subject):
        plain, images, labels = raw()
        (left, first), (right, second) = (
            _through(hooks, plain, images, labels, chance=chance) for chance in (1, 2)
        )
        if not alike(left, right) or not torch.equal(first, second):
            raise Broken(
                f"two runs with the same generator differ ({strength})",
                "pass generator=context.generator to every draw",
            )
    return _declared_chance(subject)


def _declared_chance(subject: Subject) -> str:
    """Whether the card says that another generator state gives another release."""
    hooks, card = cast("Defense", build(subject)), card_of(subject)
    plain, images, labels = raw()
    (left, first), (right, second) = (
        (
            hooks.gradients(plain, context(seed, images, labels)),
            hooks.inputs(images, labels, context(seed))[0],
        )
        for seed in (0, 1)
    )
    drawn = not alike(left, right) or not torch.equal(first, second)
    if drawn != card.random:
        does = "draws something anew for every release" if drawn else "sends the same at every draw"
        raise Note(
            f"{does}, but the card says random = {str(card.random).lower()}",
            f"write random = {str(drawn).lower()} in card.toml: a random defense needs many releases",
        )
    return "one generator state, one release; another one, another" if drawn else "nothing is drawn"


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    plain, images, labels = raw()
    hooks = cast("Defense", build(subject))
    with no_global_randomness():
        hooks.inputs(images, labels, context())
        hooks.gradients(plain, context(0, images, labels))
    return "torch, numpy and random stay where they were"


def clients_apart(subject: Subject) -> str:
    """What one client sends depends on no other client."""
    for strength, hooks in strengths(subject):
        plain, images, labels = raw()
        for changed in range(material.VICTIMS):
            others = [client for client in range(material.VICTIMS) if client != changed]
            after, other = {k: v.clone() for k, v in plain.items()}, images.clone()
            for value in after.values():
                value[changed] = -3 * value[changed] + 1
            other[changed] = 1 - other[changed]
            left, first = _through(hooks, plain, images, labels)
            right, second = _through(hooks, after, other, labels)
            same = all(torch.equal(left[k][others], right[k][others]) for k in left)
            if not same or not torch.equal(first[others], second[others]):
                raise Broken(
                    f"what client {changed} computes changes what the others send ({strength})",
                    "reduce over the entries of one client: value.flatten(1).norm(dim=1), not value.norm()",
                )
    return "no client's release depends on another's"
