"""The same door for released classifiers: the network as it was released, and what the attacker brings."""

from __future__ import annotations

import torch

from bench.api.dataset import ImageSet
from bench.api.generator import ImageGenerator
from bench.api.released import ModelObservation
from bench.api.threat import Adversary, ThreatModel
from bench.matrix.cells import Cell
from bench.plugins import attack_card
from bench.victims.owner import released_network
from bench.victims.releases import Release, Source


def observe_model(
    cell: Cell,
    *,
    source: Source,
    release: Release,
    auxiliary: ImageSet,
    generator: ImageGenerator | None,
) -> ModelObservation:
    """Builds the observation of a cell's attack on a released classifier.

    Args:
        cell: names the attack and its adversary.
        source: only the architecture passes; the defense is seen through its view, by the adaptive attacker.
        release: only the weights pass, and which classes there are.
        auxiliary: its images pass, without labels, to attacks whose card asks for images or a generator.
        generator: passes to attacks whose card asks for it.
    """
    card = attack_card(cell.attack.name)
    owned = card.needs_auxiliary or card.needs_generator
    return ModelObservation(
        threat=ThreatModel(
            channel=cell.channel,
            adversary=cell.adversary,
            batch_size=cell.batch_size,
            auxiliary=owned,
            generator=generator is not None,
        ),
        model=released_network(source, release),
        targets=torch.arange(cell.releases, device=source.device),
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        ids=torch.arange(cell.releases, device=source.device),
        generator=generator,
        images=auxiliary.images.to(source.device) if owned else None,
        defense=source.defense.view() if cell.adversary is Adversary.ADAPTIVE else None,
    )
