"""The same door in split learning: what passes depends on the attacker's access to the client's half."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from bench.api.dataset import ImageSet, Splits
from bench.api.smashed import Query, SmashedObservation
from bench.api.threat import Access, Adversary, ThreatModel
from bench.engine.transmission import ACTIVATIONS
from bench.matrix.cells import Cell
from bench.models.split import ClientHalf, SplitModel
from bench.models.victims import schedule_of
from bench.plugins import attack_card
from bench.victims.releases import Release, Source
from bench.victims.session import HijackedTraining
from bench.victims.split import build_split
from bench.victims.split_releases import loaded
from bench.victims.training import stream


def observe_split(
    cell: Cell, *, source: Source, release: Release, auxiliary: ImageSet, session: HijackedTraining | None
) -> SmashedObservation:
    """Builds the observation of a cell's attack on activations.

    Args:
        cell: names the attack, whose card declares its access, and its adversary.
        source: the server's half passes, the client's half only as far as the access goes.
        release: only its activations pass.
        auxiliary: passes only to attacks whose card asks for it.
        session: passes only with access ``active``.
    """
    card = attack_card(cell.attack.name)
    network = loaded(source).requires_grad_(False)
    half = _half(network, source)
    return SmashedObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=card.needs_auxiliary,
            access=card.access,
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
        defense=source.defense.view() if cell.adversary is Adversary.ADAPTIVE else None,
        auxiliary=auxiliary if card.needs_auxiliary else None,
    )


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
