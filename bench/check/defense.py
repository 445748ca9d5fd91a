"""The promises of a defense, each a function: it returns what it found, or raises what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from bench.api import Defense, Gradients, HookContext, ImageSet, Splits
from bench.api.cards import DefenseCard
from bench.check import material
from bench.check.card import build
from bench.check.findings import Broken, Note, Skipped
from bench.check.guard import no_global_randomness
from bench.check.place import Subject
from bench.models.names import MODELS
from bench.models.victims import build_model
from bench.plugins import build_defense, defense_card
from bench.victims.training import Victim, train_victim

_IMAGES, _TEST, _EPOCHS = 800, 300, 5
"""A trial federation of 125 rounds: it learns something in a few seconds, and is no result."""


def _card(subject: Subject) -> DefenseCard:
    return defense_card(subject.name)


def _strengths(subject: Subject) -> Iterator[tuple[str, Defense]]:
    """The default, and both ends of the swept parameter's range."""
    card = _card(subject)
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


def _context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1)


def _raw() -> tuple[Gradients, Tensor, Tensor]:
    """Undefended gradients, and the images and labels they come from."""
    released = material.release(Defense(), batch_size=1)
    return {k: v.clone() for k, v in released.gradients.items()}, released.images, released.labels


def _through(
    hooks: Defense, gradients: Gradients, images: Tensor, labels: Tensor, *, chance: int = 0
) -> tuple[Gradients, Tensor]:
    """What leaves and what is trained on, from a known global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        shown, _ = hooks.inputs(images, labels, _context())
        return hooks.gradients(gradients, _context()), shown


def _alike(left: Gradients, right: Gradients) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def shapes(subject: Subject) -> str:
    """The hooks keep names, shapes, types and finite values, and change nothing in place."""
    for strength, hooks in _strengths(subject):
        plain, images, labels = _raw()
        kept = images.clone()
        sent = hooks.gradients(plain, _context())
        _check_sent(sent, plain, strength)
        if not _alike(plain, _raw()[0]):
            raise Broken(f"gradients: changes its argument in place ({strength})", "return new tensors")
        shown, named = hooks.inputs(images, labels, _context())
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
    for strength, hooks in _strengths(subject):
        plain, images, labels = _raw()
        (left, first), (right, second) = (
            _through(hooks, plain, images, labels, chance=chance) for chance in (1, 2)
        )
        if not _alike(left, right) or not torch.equal(first, second):
            raise Broken(
                f"two runs with the same generator differ ({strength})",
                "pass generator=context.generator to every draw",
            )
    return _declared_chance(subject)


def _declared_chance(subject: Subject) -> str:
    """Whether the card says that another generator state gives another release."""
    hooks, card = cast("Defense", build(subject)), _card(subject)
    plain, images, labels = _raw()
    (left, first), (right, second) = (
        (hooks.gradients(plain, _context(seed)), hooks.inputs(images, labels, _context(seed))[0])
        for seed in (0, 1)
    )
    drawn = not _alike(left, right) or not torch.equal(first, second)
    if drawn != card.random:
        does = "draws something anew for every release" if drawn else "sends the same at every draw"
        raise Note(
            f"{does}, but the card says random = {str(card.random).lower()}",
            f"write random = {str(drawn).lower()} in card.toml: a random defense needs many releases",
        )
    return "one generator state, one release; another one, another" if drawn else "nothing is drawn"


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    plain, images, labels = _raw()
    hooks = cast("Defense", build(subject))
    with no_global_randomness():
        hooks.inputs(images, labels, _context())
        hooks.gradients(plain, _context())
    return "torch, numpy and random stay where they were"


def clients_apart(subject: Subject) -> str:
    """What one client sends depends on no other client."""
    for strength, hooks in _strengths(subject):
        plain, images, labels = _raw()
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


def architecture(subject: Subject) -> str:
    """Every victim still scores images after the hook ``model``."""
    hooks, shape = cast("Defense", build(subject)), material.shape()
    for name in MODELS:
        network = hooks.model(build_model(name, **shape))
        scores = network(torch.rand(2, *shape["image_shape"]))
        if tuple(scores.shape) != (2, shape["num_classes"]):
            raise Broken(
                f"model: the defended {name} scores 2 images as {tuple(scores.shape)}",
                "keep [B, K] class scores",
            )
    return f"scores images with {', '.join(MODELS)}"


def changes(subject: Subject) -> str:
    """Something else leaves the clients than without it, and its strength matters."""
    card = _card(subject)
    if not card.adaptive_view and not card.parameters:
        raise Skipped("declares that there is nothing to adapt to")
    plain = material.release(Defense(), batch_size=1)
    distances = {name: _distance(hooks, plain.gradients) for name, hooks in _strengths(subject)}
    if distances["default"] == 0:
        raise Broken(
            "with its default parameters the release is the undefended one",
            "let a hook change something, and choose a default at which it does",
        )
    if card.strength and len(distances) > 1 and len(set(distances.values())) == 1:
        raise Broken(f"{card.strength} changes nothing", f"use {card.strength} in a hook")
    return f"moves the release by {distances['default']:.2g} of its norm"


def _distance(hooks: Defense, plain: Gradients) -> float:
    """How far the release is from the undefended one, relative to it; infinite for another architecture."""
    network = hooks.model(build_model(material.architecture(), **material.shape()))
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    if shapes != {name: tuple(value.shape[1:]) for name, value in plain.items()}:
        return float("inf")
    sent = material.release(hooks, batch_size=1).gradients
    gap = torch.stack([(sent[k] - plain[k]).square().sum() for k in plain]).sum().sqrt()
    return (gap / torch.stack([v.square().sum() for v in plain.values()]).sum().sqrt()).item()


def view(subject: Subject) -> str:
    """The adaptive attacker's view is there if the card says so, complete and differentiable."""
    hooks, card = cast("Defense", build(subject)), _card(subject)
    seen = hooks.view()
    if (seen is not None) != card.adaptive_view:
        has = "returns None" if seen is None else "returns a view"
        raise Broken(
            f"view() {has}, but the card says adaptive_view = {str(card.adaptive_view).lower()}",
            "an adaptive attacker knows the defense: return DefenseView(parameters=...), or declare "
            "adaptive_view = false where there is nothing to know",
        )
    if seen is None:
        return "none, as declared"
    if set(seen.parameters) != set(card.parameters):
        raise Broken(
            f"view() tells {sorted(seen.parameters)}, the card has {sorted(card.parameters)}",
            "Kerckhoffs: give every parameter away",
        )
    plain, _, _ = _raw()
    sent = hooks.gradients(plain, _context())
    if seen.negative_log_likelihood is not None:
        _check_likelihood(seen.negative_log_likelihood, sent)
    if seen.transmitted is not None:
        mask = seen.transmitted(sent)
        if {k: (v.shape, v.dtype) for k, v in mask.items()} != {
            k: (v.shape, torch.bool) for k, v in sent.items()
        }:
            raise Broken(
                "view().transmitted gives other shapes or types than bool", "return value != 0, or alike"
            )
    parts = [("density", seen.negative_log_likelihood), ("transmitted entries", seen.transmitted)]
    return "parameters" + "".join(f", {name}" for name, part in parts if part is not None)


def _check_likelihood(density: Any, sent: Gradients) -> None:
    leaf = {k: v.requires_grad_() for k, v in _raw()[0].items()}
    value = density(leaf, sent)
    if tuple(value.shape) != (material.VICTIMS,) or not value.isfinite().all():
        raise Broken(
            f"view().negative_log_likelihood gives {tuple(value.shape)}, not finite ({material.VICTIMS},)",
            "sum over each victim's entries: value.flatten(1).sum(1)",
        )
    try:
        slopes = torch.autograd.grad(value.sum(), list(leaf.values()))
    except RuntimeError as error:
        raise Broken(
            f"view().negative_log_likelihood cannot be differentiated: {error}",
            "let it depend on every candidate gradient, by differentiable operations",
        ) from None
    if not all(slope.isfinite().all() for slope in slopes):
        raise Broken("view().negative_log_likelihood has slopes that are not finite", "avoid log(0) and 1/0")


def utility(subject: Subject) -> str:
    """A federation trains under it and reports its accuracy."""
    own = _federation(cast("Defense", build(subject)))
    weights = list(own.trained.values())
    if not all(value.isfinite().all() for value in weights):
        raise Broken(
            f"the weights are not finite after {own.rounds} rounds of training under it",
            "the same hooks run in training: keep what leaves at a scale from which a server can learn",
        )
    plain = _federation(Defense()).accuracy
    said = f"accuracy {own.accuracy:.2f} after {own.rounds} rounds, undefended {plain:.2f}"
    if all(torch.equal(own.initial[name], own.trained[name]) for name in own.initial):
        raise Note(
            f"{said}: the weights did not move", "is nothing left of the gradients at the default strength?"
        )
    return said


def _federation(hooks: Defense) -> Victim:
    splits = material.data().splits
    few = Splits(
        private_train=_few(splits.private_train, _IMAGES),
        private_test=_few(splits.private_test, _TEST),
        auxiliary=splits.auxiliary,
    )
    return train_victim(
        model=material.learner(), splits=few, batch_size=4, epochs=_EPOCHS, seed=0, device=material.CPU,
        defense=hooks, **material.shape(),
    )  # fmt: skip


def _few(part: ImageSet, count: int) -> ImageSet:
    return replace(part, images=part.images[:count], labels=part.labels[:count])
