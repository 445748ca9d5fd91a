"""Which protocol a cell's victim follows: how it is trained, what leaves it, what its attacker sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.api.dataset import Data
from bench.api.threat import Channel
from bench.matrix.cells import Cell
from bench.plugins import attack_card, build_attack, build_defense
from bench.seeds import derive_seed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.api.attack import Reconstruction
    from bench.api.generator import ImageGenerator
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim


def _shape(data: Data) -> dict[str, Any]:
    return {"num_classes": data.dataset.num_classes, "image_shape": data.dataset.image_shape}


def splits_network(cell: Cell, data: Data) -> bool:
    """Whether the victim's network is cut in two."""
    from bench.models.build import build_model
    from bench.models.split import SplitModel

    return isinstance(build_model(cell.model, **_shape(data)), SplitModel)


def train(cell: Cell, data: Data, device: torch.device) -> Victim:
    """Trains the victim by its protocol: what leaks decides how a network that is cut in two is trained."""
    from bench.victims.owner import train_owner
    from bench.victims.split import train_split
    from bench.victims.splitfed import train_splitfed
    from bench.victims.training import train_victim

    common: dict[str, Any] = {
        **_shape(data),
        "model": cell.model,
        "splits": data.splits,
        "defense": build_defense(cell.defense.name, cell.defense.arguments()),
        "epochs": cell.epochs,
        "seed": cell.seed,
        "device": device,
    }
    if cell.channel is Channel.MODEL:
        return train_owner(**common)
    if cell.channel is Channel.SMASHED:
        return train_split(**common)
    federated = train_splitfed if splits_network(cell, data) else train_victim
    return federated(batch_size=cell.batch_size, **common)


def released(cell: Cell, data: Data, source: Source) -> Release:
    """What leaves the victim on the cell's channel."""
    from bench.victims.owner import release_classifier
    from bench.victims.releases import release_gradients
    from bench.victims.split_releases import CLIENT, SERVER, release_activations
    from bench.victims.splitfed import release_weight_gradients

    if cell.channel is Channel.MODEL:
        return release_classifier(source)
    if cell.channel is Channel.SMASHED:
        return release_activations(source)
    if cell.channel is Channel.CLIENT_GRADIENTS:
        return release_weight_gradients(source, halves=(CLIENT,))
    if splits_network(cell, data):
        return release_weight_gradients(source, halves=(CLIENT, SERVER))
    return release_gradients(source)


def attacked(
    cell: Cell,
    data: Data,
    source: Source,
    release: Release,
    initial: dict[str, Tensor],
    generator: ImageGenerator | None,
) -> tuple[Reconstruction, float | None]:
    """What the attack rebuilds, and the task's accuracy where it is the server of a training.

    Args:
        cell: the cell.
        data: its auxiliary images may pass to the attack.
        source: where the release comes from.
        release: what of it passes is decided by the observation.
        initial: the weights of round 0, from which the clients of an active attacker start.
        generator: what the attack searches; None for most.
    """
    from bench.channels.observe import observe
    from bench.channels.observe_model import observe_model
    from bench.channels.observe_split import hijacked, observe_split, observe_weight_gradients

    seen: dict[str, Any] = {"source": source, "release": release, "auxiliary": data.splits.auxiliary}
    if cell.channel is not Channel.MODEL and attack_card(cell.attack.name).receives_pool:
        seen["pool"] = _listed(source, release)
    attack = build_attack(cell.attack.name, cell.attack.arguments())
    options: dict[str, Any] = {"budget": cell.budget, "seed": derive_seed(cell.seed, "attack")}
    if cell.channel is Channel.MODEL:
        return attack.reconstruct(observe_model(cell, generator=generator, **seen), **options), None
    if cell.channel is Channel.SMASHED:
        session = hijacked(cell, source=source, initial=initial, release=release, splits=data.splits)
        observation = observe_split(cell, session=session, generator=generator, **seen)
        found = attack.reconstruct(observation, **options)
        return found, session.task_accuracy if session else None
    if splits_network(cell, data):
        return attack.reconstruct(
            observe_weight_gradients(cell, **seen, generator=generator), **options
        ), None
    return attack.reconstruct(observe(cell, **seen, generator=generator), **options), None


def _listed(source: Source, release: Release) -> Tensor:
    """The list ``[P, C, H, W]`` that a bound is given: the released images among the distractors.

    They come in the order of a digest of their pixels, which tells nothing of who released what.
    """
    import torch

    from bench.metrics.pool import by_digest, others, pool_of

    images = source.private.images
    drawn = pool_of(images, seed=source.seed)
    rows = torch.cat([release.indices.flatten().cpu(), drawn[others(drawn, release.indices)]])
    return by_digest(images[rows.to(images.device)]).to(source.device)
