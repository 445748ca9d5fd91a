"""What a defense changes, tells and costs, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from bench.api import Defense, Gradients, Splits
from bench.check.card import build
from bench.check.defenses.alike import in_training
from bench.check.defenses.promises import card_of, context, raw, strengths
from bench.check.findings import Broken, Note, Skipped
from bench.check.materials import material
from bench.check.place import Subject
from bench.models.build import build_model
from bench.models.names import MODELS
from bench.victims.releases import release_gradients
from bench.victims.training import Victim, train_victim

_IMAGES, _TEST, _EPOCHS, _BATCH, _RELEASES = 800, 300, 5, 4, 8
"""A trial federation of 125 rounds: it learns something in a few seconds, and is no result."""


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
    card = card_of(subject)
    if not card.adaptive_view and not card.parameters:
        raise Skipped("declares that there is nothing to adapt to")
    size = 4 if card.needs_batch else 1
    plain = material.release(Defense(), batch_size=size)
    distances = {name: _distance(hooks, plain.sent, size) for name, hooks in strengths(subject)}
    if distances["default"] == 0:
        raise Broken(
            "with its default parameters the release is the undefended one",
            "let a hook change something, and choose a default at which it does",
        )
    if card.strength and len(distances) > 1 and len(set(distances.values())) == 1:
        raise Broken(f"{card.strength} changes nothing", f"use {card.strength} in a hook")
    return f"moves the release by {distances['default']:.2g} of its norm"


def _distance(hooks: Defense, plain: Gradients, batch_size: int) -> float:
    """How far the release is from the undefended one, relative to it, in weights that both networks have."""
    sent = material.release(hooks, batch_size=batch_size).sent
    plain = {k: v for k, v in plain.items() if k in sent and sent[k].shape == v.shape}
    if not plain:
        return float("inf")
    gap = torch.stack([(sent[k] - plain[k]).square().sum() for k in plain]).sum().sqrt()
    return (gap / torch.stack([v.square().sum() for v in plain.values()]).sum().sqrt()).item()


def view(subject: Subject) -> str:
    """The adaptive attacker's view is there if the card says so, complete and differentiable."""
    hooks, card = cast("Defense", build(subject)), card_of(subject)
    seen = hooks.known()
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
    plain, images, labels = raw()
    sent = hooks.gradients(plain, context(0, images, labels))
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
    if seen.transmit is not None:
        _check_transmit(seen.transmit, sent)
    parts = [
        ("density", seen.negative_log_likelihood),
        ("transmitted entries", seen.transmitted),
        ("what is sent of a candidate", seen.transmit),
        ("the clients' loss", seen.client_loss),
    ]
    return "parameters" + "".join(f", {name}" for name, part in parts if part is not None)


def _check_transmit(transmit: Callable[[Gradients, Gradients], Gradients], sent: Gradients) -> None:
    leaf = {k: v.requires_grad_() for k, v in raw()[0].items()}
    value = transmit(leaf, sent)
    if {k: v.shape for k, v in value.items()} != {k: v.shape for k, v in sent.items()}:
        raise Broken("view().transmit gives other names or shapes", "keep those of the candidate")
    total = torch.stack([part.square().sum() for part in value.values()]).sum()
    if not total.requires_grad:
        raise Broken("view().transmit cannot be differentiated", "let it depend on the candidate")
    found = torch.autograd.grad(total, list(leaf.values()), allow_unused=True)
    if not all(grad.isfinite().all() for grad in found if grad is not None):
        raise Broken("view().transmit has a gradient that is not finite", "avoid sqrt(0) and 1/0")


def _check_likelihood(density: Any, sent: Gradients) -> None:
    leaf = {k: v.requires_grad_() for k, v in raw()[0].items()}
    value = density(leaf, sent)
    if tuple(value.shape) != (material.VICTIMS,) or not value.isfinite().all():
        raise Broken(
            f"view().negative_log_likelihood gives {tuple(value.shape)}, not finite ({material.VICTIMS},)",
            "sum over each victim's entries: value.flatten(1).sum(1)",
        )
    try:
        grads = torch.autograd.grad(value.sum(), list(leaf.values()))
    except RuntimeError as error:
        raise Broken(
            f"view().negative_log_likelihood cannot be differentiated: {error}",
            "let it depend on every candidate gradient, by differentiable operations",
        ) from None
    if not all(grad.isfinite().all() for grad in grads):
        raise Broken(
            "view().negative_log_likelihood has a gradient that is not finite", "avoid log(0) and 1/0"
        )


def utility(subject: Subject) -> str:
    """A federation trains under it, which changes as much there as at release, and reports its accuracy."""
    own = _federation(cast("Defense", build(subject)))
    weights = list(own.trained.values())
    if not all(value.isfinite().all() for value in weights):
        raise Broken(
            f"the weights are not finite after {own.rounds} rounds of training under it",
            "the same hooks run in training: keep what leaves at a scale from which a server can learn",
        )
    places = (
        material.source(
            cast("Defense", build(subject)), model=material.learner(), parameters=weights, batch_size=_BATCH,
            releases=_RELEASES, memory=memory,
        )
        for weights, memory in ((own.initial, {}), (own.trained, own.memory))
    )  # fmt: skip
    in_training(own, places, release_gradients)
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
        private_train=material.few(splits.private_train, _IMAGES),
        private_test=material.few(splits.private_test, _TEST),
        auxiliary=splits.auxiliary,
    )
    return train_victim(
        model=material.learner(), splits=few, batch_size=_BATCH, epochs=_EPOCHS, seed=0, device=material.CPU,
        defense=hooks, **material.shape(),
    )  # fmt: skip
