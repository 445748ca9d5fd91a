"""What a victim releases on each channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.defense import Defense, HookContext
from bench.models.base import Shape
from bench.models.victims import build_model
from bench.victims.training import client_releases, stream


@dataclass(frozen=True, kw_only=True)
class Release:
    """N private batches and the gradients that left; the images never reach an attack.

    Attributes:
        images: ``[N, B, C, H, W]``.
        labels: int64 ``[N, B]``.
        indices: int64 ``[N, B]`` into ``private_train``.
        gradients: ``[N, ...]`` per parameter, after the defense.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    gradients: dict[str, Tensor]


def release_gradients(
    *,
    model: str,
    parameters: dict[str, Tensor],
    private: ImageSet,
    num_classes: int,
    image_shape: Shape,
    defense: Defense,
    releases: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Release:
    """The releases of N clients, one private batch each, through the hooks of the training.

    Batches are drawn without repetition by the seed alone: every defense, model and checkpoint of one seed
    releases the same images, so that comparisons are paired.

    Raises:
        ValueError: fewer private images than N * B.
    """
    if releases * batch_size > len(private):
        raise ValueError(
            f"{releases} releases of {batch_size} need more than the {len(private)} private images"
        )
    generator = stream(seed, "releases", torch.device("cpu"))
    indices = torch.randperm(len(private), generator=generator)[: releases * batch_size]
    indices = indices.view(releases, batch_size)
    images, labels = private.images[indices].to(device), private.labels[indices].to(device)
    network = defense.model(build_model(model, num_classes=num_classes, image_shape=image_shape)).to(device)
    context = HookContext(generator=stream(seed, "release noise", device), batch_size=batch_size)
    gradients = client_releases(
        network, {name: value.to(device) for name, value in parameters.items()}, images, labels,
        defense=defense, context=context, num_classes=num_classes,
    )  # fmt: skip
    return Release(
        images=images,
        labels=labels,
        indices=indices,
        gradients={name: value.detach() for name, value in gradients.items()},
    )
