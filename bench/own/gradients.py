"""The gradients that a client of a federation sends, attacked in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.api.attack import BaseAttack
from bench.api.dataset import ImageSet
from bench.api.defense import Defense
from bench.api.errors import UsageError
from bench.api.gradients import Gradients
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary, Channel, LocalTraining, ThreatModel
from bench.own.attempts import Campaign, Prior
from bench.own.choose import Chosen, choose_attacks, choose_defense
from bench.own.federation import Federation, Loss
from bench.own.leak import Leak
from bench.own.network import own_network
from bench.own.pace import Clock, Tell
from bench.own.reading import (
    check_fits,
    check_given,
    check_whole,
    chosen_device,
    computing_with,
    read_gradients,
    read_images,
    read_labels,
    say,
    shape_of,
)
from bench.own.scoring import Truth


def attack_gradients(
    model: nn.Module,
    gradients: Mapping[str, Tensor] | Sequence[Tensor] | None = None,
    *,
    images: Tensor | None = None,
    labels: Tensor | Sequence[int] | None = None,
    batch_size: int = 1,
    image_shape: tuple[int, int, int] | None = None,
    defense: str | Defense | None = None,
    knows_defense: bool = True,
    attacks: str | Sequence[str | BaseAttack[Any]] = "auto",
    auxiliary: Tensor | None = None,
    distractors: Tensor | None = None,
    loss: Literal["cross_entropy"] | Loss = "cross_entropy",
    local_steps: int = 1,
    learning_rate: float | None = None,
    batch_norm: Literal["auto", "train", "eval"] = "auto",
    budget: int = 1000,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    tell: Tell | None = None,
) -> Leak:
    """Rebuilds the private images of clients of a federation from the gradients that they send.

    Give ``images`` and ``labels`` to ask what their gradients would give away, ``gradients`` for what was
    recorded, or all three to score what was recorded. The model is copied and stays as it is.

    Args:
        model: ``[B, C, H, W]`` in [0, 1] -> scores ``[B, K]``, with the weights that the server broadcast and
            in the mode in which clients use it. Only weights with ``requires_grad`` are trained and sent.
        gradients: of the weights that are trained, by name or in their order: of one release in their own
            shapes, or of N with a leading dimension. With ``learning_rate`` the weights before less those
            after, as clients of federated averaging send them.
        images: private images ``[N * B, C, H, W]``, the first B of the first client.
        labels: int64 ``[N * B]``, their classes. No attacker sees them.
        batch_size: B, images of a client.
        image_shape: (C, H, W); needed where no images are given.
        defense: hooks of the clients, such as ``"noise[sigma=0.01]"``; None for none.
        knows_defense: attackers that can adapt to the defense do.
        attacks: ``auto`` for every attack of the suite that applies, names such as ``"dlg[history=20]"``, or
            attacks.
        auxiliary: images ``[A, C, H, W]`` of the same kind that are not private; attacks with a generator
            learn it from them, which takes minutes.
        distractors: images ``[P, C, H, W]`` of the same kind; a private image is found if the reconstruction
            is nearer to it than to all of them.
        loss: of a client's batch; a function of scores ``[B, K]`` and targets ``[B, K]``.
        local_steps: S, steps of gradient descent on the whole batch before a client sends.
        learning_rate: of these steps; needed with several of them.
        batch_norm: what BatchNorm layers normalise by: ``train``, the client's own batch, which stays with
            it; ``eval``, public statistics; ``auto``, as the model is.
        budget: evaluations of the matching loss, per release and attack.
        minutes: for all attacks together; where they would take longer, each has fewer evaluations.
        seed: of the attacks' starts and of the defense's randomness.
        device: ``auto``, ``cpu``, ``cuda:0``.
        threads: of PyTorch inside of one operation.
        tell: is told how far it is; None: lines on the terminal, if there is one.

    Returns:
        What was found, by which attack, and which attacks do not apply.

    Raises:
        UsageError: something that was given does not fit, with what helps.
    """
    check_given(images, labels, gradients, "gradients")
    check_whole(batch_size=batch_size, budget=budget, local_steps=local_steps)
    if isinstance(loss, str) and loss != "cross_entropy":
        raise UsageError(f"loss={loss!r}: write 'cross_entropy', or give a function of scores and targets")
    place, tell = chosen_device(device), tell or say
    with computing_with(threads):
        shown = None if images is None else read_images(images).to(place)
        shape = shape_of(shown, image_shape)
        network = own_network(model, image_shape=shape, batch_norm=batch_norm, device=place)
        federation = Federation(
            network=network,
            loss=None if isinstance(loss, str) else loss,
            local=_local(local_steps, learning_rate),
            defense=choose_defense(defense, Channel.GRADIENTS, known=knows_defense),
            batch_size=batch_size,
            seed=seed,
        )
        truth = None
        if shown is not None and labels is not None:
            classes = read_labels(labels, len(shown), network.num_classes).to(place)
            truth = Truth.of(shown, classes, batch_size, distractors)
        scale = 1.0 if learning_rate is None else local_steps * learning_rate
        released = _released(federation, gradients, truth, scale)
        own = None if auxiliary is None else network.labelled(read_images(auxiliary, "auxiliary"))
        prior = Prior(auxiliary=own, private=truth.private if truth else (), seed=seed, tell=tell)
        releases = len(next(iter(released.values())))
        campaign = Campaign(
            channel=Channel.GRADIENTS,
            threat=_words(federation, own),
            defense=federation.defense,
            observe=_observer(federation, released, truth, prior),
            explained=federation.explained(released),
            truth=truth,
            auxiliary=prior.seen(truth),
            releases=releases,
            budget=budget,
            seed=seed,
            tell=tell,
            clock=Clock(minutes, federation.evaluation(releases)),
            warnings=federation.limits,
        )
        reasons = prior.given_up(truth)
        reasons["needs_labels"] = "it needs the labels, and the protocol gives them to nobody"
        return campaign.run(choose_attacks(attacks, Channel.GRADIENTS, given_up=reasons))


def _local(steps: int, rate: float | None) -> LocalTraining | None:
    if rate is not None and not rate > 0:
        raise UsageError(f"learning_rate={rate}: give the clients' rate, above zero")
    if steps == 1:
        return None
    if rate is None:
        raise UsageError("learning_rate is missing: with several local_steps say the clients' rate")
    return LocalTraining(epochs=steps, batch_size=0, learning_rate=rate)


def _released(
    federation: Federation,
    gradients: Mapping[str, Tensor] | Sequence[Tensor] | None,
    truth: Truth | None,
    scale: float,
) -> Gradients:
    """What left, ``[N, ...]``: recorded and then divided by the scale, or computed from private images."""
    if gradients is None:
        assert truth is not None  # one of the two is given
        return federation.release(truth.images, truth.labels)
    given = read_gradients(gradients, federation.network.shapes)
    network = federation.network
    found = {name: (given[network.own_names[name]] / scale).to(network.device) for name in network.trained}
    if truth is not None:
        check_fits(len(next(iter(found.values()))), truth.images)
    return found


def _words(federation: Federation, auxiliary: ImageSet | None) -> dict[str, str]:
    """What the attacker sees and knows."""
    local, defense = federation.local, federation.defense
    sent = "the gradient of one batch"
    if local is not None:
        sent = f"the change of the weights after {local.epochs} steps at rate {local.learning_rate:g}"
    return {
        "observes": f"{sent}, {federation.batch_size} image(s) of each client",
        "knows": "architecture, global weights, batch size, number of classes, image shape",
        "weights sent": f"{len(federation.network.trained)} of {len(federation.network.parameters)} tensors",
        "BatchNorm": str(federation.batch_norm),
        "labels": "not given",
        "defense": defense.words,
        "images of its own": "none" if auxiliary is None else f"{len(auxiliary):,}",
    }


def _observer(
    federation: Federation, released: Gradients, truth: Truth | None, prior: Prior
) -> Callable[[Chosen, Adversary], GradientObservation]:
    network, defense = federation.network, federation.defense
    releases = len(next(iter(released.values())))

    def observe(chosen: Chosen, adversary: Adversary) -> GradientObservation:
        card = chosen.card
        view = defense.defense.known(federation.batch_size) if adversary is Adversary.ADAPTIVE else None
        learns = prior.passes_to(chosen, view)
        generator = prior.generator(chosen.generator) if chosen.generator else None
        return GradientObservation(
            threat=ThreatModel(
                channel=Channel.GRADIENTS,
                adversary=adversary,
                batch_size=federation.batch_size,
                auxiliary=learns,
                generator=generator is not None,
                batch_norm=federation.batch_norm,
                local=federation.local,
            ),
            model=network.model,
            parameters=network.parameters,
            per_victim_weights=False,
            gradients=released,
            image_shape=network.image_shape,
            num_classes=network.num_classes,
            ids=torch.arange(releases, device=network.device),
            defense=view,
            auxiliary=prior.auxiliary if learns else None,
            generator=generator,
            statistics=federation.statistics,
            loss=federation.batch_loss(),
            pool=truth.pool if truth is not None and card is not None and card.receives_pool else None,
        )

    return observe
