"""What a defense changes of a released classifier and what it costs, promise by promise.

Each function returns what it found, or raises what is broken.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bench.api import Defense, HookContext, ImageSet
from bench.check.card import build
from bench.check.defenses.promises import card_of, strengths
from bench.check.elsewhere import Far, OneGenerator, far_network
from bench.check.findings import Broken, Skipped
from bench.check.guard import no_global_randomness
from bench.check.materials import material, released_material
from bench.check.place import Subject
from bench.models.build import build_model
from bench.victims.owner import BATCH, release_classifier, released_network
from bench.victims.training import Victim

_MOMENTS = (0.0, 0.6, 1.0)
"""Shares of the training at which an objective is asked."""
_BETTER = 1.5
"""Times guessing: what a classifier must reach after a trial."""


def _context(progress: float, public: ImageSet | None = None) -> HookContext:
    chance = torch.Generator().manual_seed(0)
    return HookContext(generator=chance, batch_size=BATCH, progress=progress, public=public)


def _public() -> ImageSet:
    return material.few(material.data().splits.auxiliary, BATCH)


def _prepared(hooks: Defense) -> nn.Module:
    """The defended network before the first step, in training mode."""
    plain = build_model(material.learner(), **material.shape())
    plain.initialise(torch.Generator().manual_seed(0))
    network = hooks.model(plain)
    hooks.prepare(
        network, material.few(material.data().splits.private_train, BATCH), _context(0.0, _public())
    )
    return network.train()


def shapes(subject: Subject) -> str:
    """Its objective is a finite number with gradients for the weights, and leaves its images as they were."""
    private = material.few(material.data().splits.private_train, BATCH)
    for strength, hooks in strengths(subject):
        network, images, labels = _prepared(hooks), private.images.clone(), private.labels.clone()
        for progress in _MOMENTS:
            value = hooks.objective(network, images, labels, _context(progress))
            _check_objective(value, network, f"{strength}, progress {progress:g}")
        if not torch.equal(images, private.images) or not torch.equal(labels, private.labels):
            raise Broken(f"objective: changes its arguments in place ({strength})", "clone() what it changes")
    return "a finite objective with gradients, at every moment of the training"


def _check_objective(value: Tensor, network: nn.Module, where: str) -> None:
    if not isinstance(value, Tensor) or value.dim() or not value.isfinite():
        raise Broken(f"objective: gives {value!r:.60} ({where})", "return one finite number, a tensor")
    if not value.requires_grad:
        raise Broken(f"objective: does not depend on the weights ({where})", "use model(images) in it")
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    known = [gradient for gradient in gradients if gradient is not None]
    if not all(gradient.isfinite().all() for gradient in known):
        raise Broken(f"objective: its gradients are not finite ({where})", "avoid log(0), sqrt(0) and 1/0")
    if not any(gradient.count_nonzero() for gradient in known):
        raise Broken(f"objective: its gradients are zero ({where})", "let it depend on the weights")


def changes(subject: Subject) -> str:
    """The owner trains another network than without it, and its strength matters."""
    card = card_of(subject)
    if not card.adaptive_view and not card.parameters:
        raise Skipped("declares that there is nothing to adapt to")
    plain = released_material.train(Defense(), brief=True).trained
    found = {name: released_material.train(hooks, brief=True).trained for name, hooks in strengths(subject)}
    if _alike(found["default"], plain):
        raise Broken(
            "with its default parameters the owner trains the undefended classifier",
            "let model, prepare or objective change something, at the default strength",
        )
    values = list(found.values())
    if len(values) > 1 and all(_alike(values[0], other) for other in values[1:]):
        raise Broken(f"{card.strength} changes nothing", f"use {card.strength} in a hook")
    return "another network is trained" + (f", by {card.strength}" if len(values) > 1 else "")


def _alike(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def deterministic(subject: Subject) -> str:
    """The seed alone decides what is trained, whatever the global random state is."""
    found = []
    for chance in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chance)
            found.append(released_material.train(cast("Defense", build(subject)), brief=True).trained)
    if not _alike(*found):
        raise Broken(
            "two trainings with one seed differ", "pass generator=context.generator to every draw, and draw "
            "the weights of added layers in prepare"
        )  # fmt: skip
    return "two trainings with one seed are equal"


def global_state(subject: Subject) -> str:
    """It neither reads nor moves global random state."""
    hooks = cast("Defense", build(subject))
    with no_global_randomness():
        released_material.train(hooks, brief=True)
    return "torch, numpy and random stay where they were"


def device_stays(subject: Subject) -> str:
    """Its hooks compute where the network is, on a pretended accelerator."""
    hooks = cast("Defense", build(subject))
    network = far_network(hooks.model(build_model(material.learner(), **material.shape())))
    private, public = material.few(material.data().splits.private_train, BATCH), _public()
    context = _context(0.6, type(public)(Far(public.images), Far(public.labels)))
    with OneGenerator(context.generator):
        far = type(private)(Far(private.images), Far(private.labels))
        hooks.prepare(network, far, context)
        value = hooks.objective(network.train(), far.images, far.labels, context)
    if not isinstance(value, Far):
        raise Broken("objective: gives a number of the CPU for a network elsewhere", "stay on its device")
    return "stays on the network's device (a pretended accelerator)"


_known: dict[object, Victim] = {}


def _victim(subject: Subject) -> Victim:
    """The classifier under the defense, trained once."""
    key = (subject.folder, tuple(sorted(subject.parameters.items())))
    if key not in _known:
        _known[key] = released_material.train(cast("Defense", build(subject)))
    return _known[key]


def utility(subject: Subject) -> str:
    """A classifier trains under it and is better than guessing."""
    found, guessing = _victim(subject), 1 / material.shape()["num_classes"]
    if not all(value.isfinite().all() for value in found.trained.values()):
        raise Broken("the weights are not finite after training under it", "bound the objective")
    plain = released_material.victim("").accuracy
    said = f"accuracy {found.accuracy:.2f} after {found.rounds} steps, undefended {plain:.2f}"
    if found.accuracy < _BETTER * guessing:
        raise Broken(f"{said}: no better than guessing", "choose a weaker default strength")
    if len(found.details) > 20:
        raise Broken(f"details() gives {len(found.details)} numbers", "at most 20: a record is 5 kB")
    return said


@torch.no_grad()
def rebuilds(subject: Subject) -> str:
    """Whoever has the released weights has the classifier: they load, and are as good as its owner says."""
    victim, hooks = _victim(subject), cast("Defense", build(subject))
    place = released_material.source(hooks, victim.trained)
    try:
        network = released_network(place, release_classifier(place))
    except RuntimeError as error:
        raise Broken(
            f"the released weights do not fit the architecture: {error}",
            "let model() alone decide which layers there are; prepare() gives them weights",
        ) from None
    test = released_material.tested()
    right = (network(test.images).argmax(1) == test.labels).float().mean().item()
    if abs(right - victim.accuracy) > 0.01:
        raise Broken(
            f"loaded from its weights it has accuracy {right:.2f}, its owner measured {victim.accuracy:.2f}",
            "keep all that its answers depend on in weights and buffers of the network",
        )
    return f"loads from its weights, with its owner's accuracy {right:.2f}"
