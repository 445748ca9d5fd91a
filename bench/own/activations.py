"""The activations that a client of split learning sends, attacked in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.api.attack import BaseAttack
from bench.api.dataset import ImageSet
from bench.api.defense import Defense
from bench.api.errors import IncompatibleError, UsageError
from bench.api.smashed import SmashedObservation
from bench.api.threat import Access, Adversary, Channel, ThreatModel
from bench.own.attempts import Campaign, Prior
from bench.own.choose import Chosen, choose_attacks, choose_defense
from bench.own.halves import Split, own_halves
from bench.own.leak import Leak
from bench.own.pace import Clock, Tell
from bench.own.reading import (
    check_fits,
    check_given,
    check_whole,
    chosen_device,
    computing_with,
    read_images,
    read_labels,
    say,
    shape_of,
)
from bench.own.scoring import Truth

GIVES: dict[str, tuple[Access, ...]] = {
    "weights": (Access.WEIGHTS, Access.QUERY, Access.ARCHITECTURE, Access.PASSIVE),
    "query": (Access.QUERY, Access.ARCHITECTURE, Access.PASSIVE),
    "architecture": (Access.ARCHITECTURE, Access.PASSIVE),
}
"""What an attack may ask for, by what the attacker has of the client's half. What a passive server has
received are the releases themselves."""


def attack_activations(
    client: nn.Module,
    server: nn.Module,
    activations: Tensor | None = None,
    *,
    images: Tensor | None = None,
    labels: Tensor | Sequence[int] | None = None,
    batch_size: int = 1,
    image_shape: tuple[int, int, int] | None = None,
    access: Literal["weights", "query", "architecture"] = "weights",
    defense: str | Defense | None = None,
    knows_defense: bool = True,
    attacks: str | Sequence[str | BaseAttack[Any]] = "auto",
    auxiliary: Tensor | None = None,
    distractors: Tensor | None = None,
    budget: int = 1000,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    tell: Tell | None = None,
) -> Leak:
    """Rebuilds the private images of a client of split learning from the activations that it sends.

    Give ``images`` and ``labels`` to ask what their activations would give away, ``activations`` for what was
    recorded, or all three to score what was recorded. Both halves are copied and stay as they are.

    Args:
        client: images ``[M, C, H, W]`` in [0, 1] -> activations ``[M, *Z]``, in the mode in which it is used.
        server: activations -> scores ``[M, K]``. The attacker is the server, so that it has this half.
        activations: ``[N * B, *Z]``, as they were sent.
        images: private images ``[N * B, C, H, W]``, the first B of the first client.
        labels: int64 ``[N * B]``, their classes. The server computes the loss, and so has them.
        batch_size: B, images of a client.
        image_shape: (C, H, W); needed where no images are given.
        access: what the attacker has of the client's half: its ``weights``, its answers to images of the
            attacker (``query``), or its ``architecture`` alone.
        defense: hooks of the client, such as ``"activation_noise[sigma=0.5]"``; None for none.
        knows_defense: attackers that can adapt to the defense do.
        attacks: as in :func:`~bench.own.gradients.attack_gradients`; so are all that follow.
        auxiliary: images of the attacker; without any, attacks that learn do not apply.
        distractors: images that a reconstruction must not be nearer to than to its original.
        budget: evaluations, per release and attack.
        minutes: for all attacks together.
        seed: of the attacks' starts and of the defense's randomness.
        device: where to compute.
        threads: of PyTorch inside of one operation.
        tell: is told how far it is.

    Raises:
        UsageError: something that was given does not fit, with what helps.
    """
    check_given(images, labels, activations, "activations")
    if access not in GIVES:
        raise UsageError(f"access={access!r}: write {', '.join(GIVES)}")
    check_whole(batch_size=batch_size, budget=budget)
    place, tell = chosen_device(device), tell or say
    with computing_with(threads):
        shown = None if images is None else read_images(images).to(place)
        shape = shape_of(shown, image_shape)
        network = own_halves(client, server, shape, place)
        split = Split(
            network=network,
            defense=choose_defense(defense, Channel.SMASHED, known=knows_defense),
            batch_size=batch_size,
            seed=seed,
        )
        split.halves.num_classes, split.halves.image_shape = network.num_classes, shape
        truth = None
        if shown is not None and labels is not None:
            classes = read_labels(labels, len(shown), network.num_classes).to(place)
            truth = Truth.of(shown, classes, batch_size, distractors)
        released = _released(split, activations, truth)
        own = None if auxiliary is None else network.labelled(read_images(auxiliary, "auxiliary"))
        prior = Prior(auxiliary=own, private=truth.private if truth else (), seed=seed, tell=tell)
        campaign = Campaign(
            channel=Channel.SMASHED,
            threat=_words(split, access, own),
            defense=split.defense,
            observe=_observer(split, released, truth, prior, access),
            explained=split.explained(released),
            truth=truth,
            auxiliary=prior.seen(truth),
            releases=len(released),
            budget=budget,
            seed=seed,
            tell=tell,
            clock=Clock(minutes, split.evaluation(len(released))),
        )
        reasons = prior.given_up(truth)
        if truth is None:
            reasons["needs_labels"] = "it needs the labels that the server has: give images= and labels="
        return campaign.run(choose_attacks(attacks, Channel.SMASHED, given_up=reasons))


def _released(split: Split, activations: Tensor | None, truth: Truth | None) -> Tensor:
    """``[N, B, *Z]``: recorded, or computed from private images."""
    if activations is None:
        assert truth is not None  # one of the two is given
        return split.release(truth.images, truth.labels)
    wanted = split.query(torch.zeros(1, *split.network.image_shape, device=split.network.device)).shape[1:]
    activations = torch.as_tensor(activations)
    if activations.shape[1:] != wanted or not len(activations) or len(activations) % split.batch_size:
        raise UsageError(
            f"activations are {tuple(activations.shape)}: the client's are {('M', *wanted)}, M a multiple of "
            f"batch_size={split.batch_size}"
        )
    placed = activations.detach().float().to(split.network.device)
    found = placed.view(-1, split.batch_size, *wanted)
    if truth is not None:
        check_fits(len(found), truth.images, "activations")
    return found


def _words(split: Split, access: str, auxiliary: ImageSet | None) -> dict[str, str]:
    """What the attacker sees and knows."""
    return {
        "observes": f"the activations of {split.batch_size} image(s) of each client",
        "knows": "the server's half, batch size, number of classes, image shape, and of the client's half "
        + Access(access).words,
        "labels": "given to attacks that need them: the server computes the loss",
        "defense": split.defense.words,
        "images of its own": "none" if auxiliary is None else f"{len(auxiliary):,}",
    }


def _observer(
    split: Split, released: Tensor, truth: Truth | None, prior: Prior, access: str
) -> Callable[[Chosen, Adversary], SmashedObservation]:
    network, shape = split.network, split.network.image_shape

    def observe(chosen: Chosen, adversary: Adversary) -> SmashedObservation:
        card, wanted = chosen.card, chosen.card.access if chosen.card else Access(access)
        if wanted is not None and wanted not in GIVES[access]:
            have = Access(access).words
            raise IncompatibleError(f"it needs of the client {wanted.words}; this attacker has {have}")
        view = split.defense.defense.known(split.batch_size) if adversary is Adversary.ADAPTIVE else None
        learns = prior.passes_to(chosen, view)
        generator = prior.generator(chosen.generator) if chosen.generator else None
        labelled = card is not None and card.needs_labels and truth is not None
        blank = split.blank(drawn=wanted in (Access.ARCHITECTURE, Access.PASSIVE))
        return SmashedObservation(
            threat=ThreatModel(
                channel=Channel.SMASHED,
                adversary=adversary,
                batch_size=split.batch_size,
                labels_known=labelled,
                auxiliary=learns,
                access=wanted,
                generator=generator is not None,
            ),
            activations=released,
            model=blank,
            server=split.halves.server,
            image_shape=shape,
            num_classes=network.num_classes,
            ids=torch.arange(len(released), device=network.device),
            client=split.client(shape) if wanted is Access.WEIGHTS else None,
            query=split.query if wanted is Access.QUERY else None,
            labels=truth.labels if labelled and truth is not None else None,
            defense=view,
            auxiliary=prior.auxiliary if learns else None,
            generator=generator,
            pool=truth.pool if truth is not None and card is not None and card.receives_pool else None,
        )

    return observe
