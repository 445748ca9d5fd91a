"""The same door in split learning: what passes depends on what leaked, and on the attacker's access."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from bench.api.dataset import ImageSet, Splits
from bench.api.defense import DefenseView
from bench.api.generator import ImageGenerator
from bench.api.observation import GradientObservation
from bench.api.smashed import Query, SmashedObservation
from bench.api.threat import Access, Adversary, ThreatModel
from bench.channels.observe import owns_images
from bench.engine.transforms.transmission import ACTIVATIONS
from bench.matrix.cells import Cell
from bench.models.build import schedule_of
from bench.models.split import ClientHalf, SplitModel
from bench.plugins import attack_card
from bench.victims.releases import Release, Source
from bench.victims.session import HijackedTraining
from bench.victims.split import build_split
from bench.victims.split_releases import CLIENT, SERVER, batch_loss, loaded
from bench.victims.training import stream


def observe_split(
    cell: Cell,
    *,
    source: Source,
    release: Release,
    auxiliary: ImageSet,
    session: HijackedTraining | None,
    generator: ImageGenerator | None = None,
    pool: Tensor | None = None,
) -> SmashedObservation:
    """Builds the observation of a cell's attack on activations.

    Args:
        cell: names the attack, whose card declares its access, and its adversary.
        source: the server's half passes, the client's half only as far as the access goes.
        release: its activations pass, and to an attack whose card asks for them its labels, which the server
            has by the protocol, since it computes the loss.
        auxiliary: passes only as :func:`~bench.channels.observe.owns_images` allows.
        session: passes only with access ``active``.
        generator: what an attack whose card asks for it has learned from the auxiliary images.
        pool: as of :func:`~bench.channels.observe.observe`.
    """
    card = attack_card(cell.attack.name)
    network = loaded(source).requires_grad_(False)
    half, view = _half(network, source), _view(cell, source)
    owned = owns_images(card, view)
    return SmashedObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            labels_known=card.needs_labels,
            auxiliary=owned,
            access=card.access,
            generator=generator is not None,
        ),
        activations=release.sent[ACTIVATIONS].to(source.device),
        model=_blank(source),
        server=copy.deepcopy(network.server),
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        ids=torch.arange(cell.releases, device=source.device),
        client=half if card.access is Access.WEIGHTS else None,
        query=_black_box(half) if card.access is Access.QUERY else None,
        session=session if card.access is Access.ACTIVE else None,
        labels=release.labels.to(source.device) if card.needs_labels else None,
        defense=view,
        auxiliary=auxiliary if owned else None,
        generator=generator,
        pool=pool if card.receives_pool else None,
    )


def observe_weight_gradients(
    cell: Cell,
    *,
    source: Source,
    release: Release,
    auxiliary: ImageSet,
    generator: ImageGenerator | None = None,
    pool: Tensor | None = None,
) -> GradientObservation:
    """Builds the observation of a cell's attack on gradients of one half or of both.

    Args:
        cell: names the attack and its adversary.
        source: both halves' weights and the training loss pass; what else a client keeps does not.
        release: only its gradients pass.
        auxiliary: passes only as :func:`~bench.channels.observe.owns_images` allows.
        generator: what an attack whose card asks for it has learned from these images.
        pool: as of :func:`~bench.channels.observe.observe`.
    """
    card, view = attack_card(cell.attack.name), _view(cell, source)
    owned = owns_images(card, view)
    network = _blank(source).requires_grad_(False)
    known = {k: v.to(source.device) for k, v in source.parameters.items() if k.startswith((CLIENT, SERVER))}
    return GradientObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=owned,
            generator=generator is not None,
        ),
        model=network,
        parameters=known,
        per_victim_weights=False,
        gradients={name: release.sent[name].to(source.device) for name in known if name in release.sent},
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        ids=torch.arange(cell.releases, device=source.device),
        defense=view,
        auxiliary=auxiliary if owned else None,
        generator=generator,
        loss=batch_loss(network),
        pool=pool if card.receives_pool else None,
    )


def _view(cell: Cell, source: Source) -> DefenseView | None:
    return source.defense.view() if cell.adversary is Adversary.ADAPTIVE else None


def hijacked(
    cell: Cell, *, source: Source, initial: dict[str, Tensor], release: Release, splits: Splits
) -> HijackedTraining | None:
    """The clients of an active attacker, at round 0; None for a passive one."""
    if attack_card(cell.attack.name).access is not Access.ACTIVE:
        return None
    schedule = schedule_of(source.model)
    return HijackedTraining(
        loaded(replace(source, parameters=initial)),
        private=splits.private_train,
        test=splits.private_test,
        attacked=(release.images, release.labels),
        defense=source.defense,
        rate=schedule.learning_rate,
        batch_size=schedule.images_per_round,
        seed=source.seed,
    )


def _half(network: SplitModel, source: Source) -> ClientHalf:
    """The client's half alone: what else a client keeps, such as a helper of its own, is blank in it."""
    shell = _blank(source)
    shell.client.load_state_dict(network.client.state_dict())
    return ClientHalf(shell.requires_grad_(False), source.image_shape)


def _blank(source: Source) -> SplitModel:
    """The architecture with weights of its own, drawn apart from everything that the victim drew."""
    network = build_split(
        source.model,
        num_classes=source.num_classes,
        image_shape=source.image_shape,
        defense=source.defense,
    ).to(source.device)
    network.initialise(stream(source.seed, "blank weights", source.device))
    return network


def _black_box(half: ClientHalf) -> Query:
    @torch.no_grad()
    def query(inputs: Tensor) -> Tensor:
        answers: Tensor = half(inputs)
        return answers

    return query
