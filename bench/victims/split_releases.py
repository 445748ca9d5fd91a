"""What a victim of split learning releases: the activations at the cut."""

from __future__ import annotations

import torch

from bench.engine.transmission import ACTIVATIONS
from bench.models.split import SplitModel
from bench.victims.releases import Release, Source, batches
from bench.victims.split import build_split, send


def loaded(source: Source) -> SplitModel:
    """The defended network with the weights of the source.

    Raises:
        IncompatibleError: the architecture is not cut in two.
    """
    network = build_split(
        source.model,
        num_classes=source.num_classes,
        image_shape=source.image_shape,
        defense=source.defense,
    )
    network.load_state_dict(source.parameters)
    return network.to(source.device)


@torch.no_grad()
def release_activations(source: Source) -> Release:
    """The activations of N clients of split learning, one private batch each, as in a round of the training.

    Raises:
        ValueError: fewer private images than N * B.
        IncompatibleError: the architecture is not cut in two.
    """
    images, labels, indices = batches(source)
    network = loaded(source)
    inputs, sent = send(network, images, labels, defense=source.defense, context=source.context(network))
    shown = source.defense.perturbed(inputs)
    changed = shown.shape == images.shape and not torch.equal(shown, images)
    return Release(
        images=images,
        labels=labels,
        indices=indices,
        sent={ACTIVATIONS: sent},
        perturbed=shown if changed else None,
    )
