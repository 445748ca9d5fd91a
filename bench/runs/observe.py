"""The door between the victim and the attacker: what a cell's attacker may see, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.defense import Defense
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary, BatchNorm, ThreatModel
from bench.engine.normalisation import batch_norms
from bench.matrix.cells import Cell
from bench.models.base import Shape
from bench.models.victims import build_model
from bench.plugins import attack_card
from bench.victims.releases import Release


def observe(
    cell: Cell,
    *,
    parameters: dict[str, Tensor],
    release: Release,
    num_classes: int,
    image_shape: Shape,
    defense: Defense,
    auxiliary: ImageSet,
    device: torch.device,
) -> GradientObservation:
    """Builds the observation of a cell's attack.

    Args:
        cell: names the attack and its adversary.
        parameters: the global weights at the cell's checkpoint.
        release: only its gradients pass.
        num_classes: K.
        image_shape: (C, H, W).
        defense: seen through its view, and by the adaptive attacker only; its changes of the architecture
            are public.
        auxiliary: passes only to attacks whose card asks for it.
        device: where the attack runs.
    """
    card = attack_card(cell.attack.name)
    network = defense.model(build_model(cell.model, num_classes=num_classes, image_shape=image_shape))
    return GradientObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=card.needs_auxiliary,
            batch_norm=BatchNorm.TRAIN if network.training and batch_norms(network) else BatchNorm.NONE,
        ),
        model=network.to(device),
        parameters={name: value.to(device) for name, value in parameters.items()},
        per_victim_weights=False,
        gradients={name: value.to(device) for name, value in release.gradients.items()},
        image_shape=image_shape,
        num_classes=num_classes,
        ids=torch.arange(cell.releases, device=device),
        defense=defense.view() if cell.adversary is Adversary.ADAPTIVE else None,
        auxiliary=auxiliary if card.needs_auxiliary else None,
    )
