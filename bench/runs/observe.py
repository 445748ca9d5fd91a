"""The door between the victim and the attacker: what a cell's attacker may see, and nothing else."""

from __future__ import annotations

import torch

from bench.api.dataset import ImageSet
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary, BatchNorm, ThreatModel
from bench.engine.normalisation import batch_norms
from bench.matrix.cells import Cell
from bench.models.victims import build_model
from bench.plugins import attack_card
from bench.victims.releases import Release, Source


def observe(cell: Cell, *, source: Source, release: Release, auxiliary: ImageSet) -> GradientObservation:
    """Builds the observation of a cell's attack on gradients.

    Args:
        cell: names the attack and its adversary.
        source: only the architecture and the global weights pass; the defense is seen through its view, and
            by the adaptive attacker only; its changes of the architecture are public.
        release: only its gradients pass.
        auxiliary: passes only to attacks whose card asks for it.
    """
    card, defense, device = attack_card(cell.attack.name), source.defense, source.device
    plain = build_model(source.model, num_classes=source.num_classes, image_shape=source.image_shape)
    network = defense.model(plain)
    return GradientObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=card.needs_auxiliary,
            batch_norm=BatchNorm.TRAIN if network.training and batch_norms(network) else BatchNorm.NONE,
        ),
        model=network.to(device),
        parameters={name: value.to(device) for name, value in source.parameters.items()},
        per_victim_weights=False,
        gradients={name: value.to(device) for name, value in release.sent.items()},
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        ids=torch.arange(cell.releases, device=device),
        defense=defense.view() if cell.adversary is Adversary.ADAPTIVE else None,
        auxiliary=auxiliary if card.needs_auxiliary else None,
    )
