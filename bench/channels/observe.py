"""The door between the victim and the attacker: what a cell's attacker may see, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api.cards import AttackCard
from bench.api.dataset import ImageSet
from bench.api.defense import DefenseView
from bench.api.generator import ImageGenerator
from bench.api.gradients import Gradients
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary, BatchNorm, ThreatModel
from bench.engine.normalisation import running_statistics, threat_of
from bench.matrix.cells import Cell
from bench.models.build import build_model
from bench.plugins import attack_card
from bench.victims.releases import Release, Source


def owns_images(card: AttackCard, view: DefenseView | None) -> bool:
    """Whether the auxiliary images pass: to an attack that asks for them or for what was learned from them.

    And to an informed one that has to undo a change of the clients' images, which takes images to learn from.
    """
    to_undo = view is not None and view.transform is not None
    return card.needs_auxiliary or card.needs_generator or to_undo


def told_apart(
    sent: Gradients, network: nn.Module, *, shared: bool
) -> tuple[BatchNorm, Gradients, Gradients | None]:
    """How the clients normalised, the gradients among what they sent, and known BatchNorm statistics.

    Args:
        sent: everything that left, by name.
        network: the defended architecture, in the mode in which clients use it.
        shared: whether clients send the statistics of their batch along.
    """
    mode, weights = threat_of(network, shared=shared), dict(network.named_parameters())
    gradients = {name: value for name, value in sent.items() if name in weights}
    if mode is BatchNorm.EVAL:
        return mode, gradients, running_statistics(network)
    own = {name: value for name, value in sent.items() if name not in weights}
    return mode, gradients, own or None


def observe(
    cell: Cell,
    *,
    source: Source,
    release: Release,
    auxiliary: ImageSet,
    generator: ImageGenerator | None = None,
    pool: Tensor | None = None,
) -> GradientObservation:
    """Builds the observation of a cell's attack on gradients.

    Args:
        cell: names the attack and its adversary.
        source: only the architecture and the global weights pass; the defense is seen through its view, and
            by the adaptive attacker only; its changes of the architecture are public.
        release: only what left passes: its gradients, and statistics that clients sent along.
        auxiliary: passes only as :func:`owns_images` allows.
        generator: what an attack whose card asks for it has learned from these images.
        pool: private images ``[P, C, H, W]``; passes only to bounds, whose card says ``receives_pool``.
    """
    card, defense, device = attack_card(cell.attack.name), source.defense, source.device
    view = defense.view() if cell.adversary is Adversary.ADAPTIVE else None
    owned = owns_images(card, view)
    plain = build_model(source.model, num_classes=source.num_classes, image_shape=source.image_shape)
    network = defense.model(plain).to(device)
    sent = {name: value.to(device) for name, value in release.sent.items()}
    mode, gradients, statistics = told_apart(sent, network, shared=plain.shares_statistics)
    return GradientObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=owned,
            generator=generator is not None,
            batch_norm=mode,
        ),
        model=network,
        parameters={name: value.to(device) for name, value in source.parameters.items()},
        per_victim_weights=False,
        gradients=gradients,
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        ids=torch.arange(cell.releases, device=device),
        defense=view,
        auxiliary=auxiliary if owned else None,
        generator=generator,
        statistics=statistics,
        pool=pool if card.receives_pool else None,
    )
