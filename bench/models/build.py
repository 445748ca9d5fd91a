"""Architectures by name: ours, or the user's own."""

from __future__ import annotations

from typing import cast

import torch

from bench.models.base import Layered, Shape, VictimModel
from bench.models.spec import parse_model
from bench.models.split import CutModel
from bench.models.users.custom import build_custom, custom_schedule
from bench.models.victims import ARCHITECTURES, Schedule


def build_model(name: str, *, num_classes: int, image_shape: Shape, central: bool = False) -> VictimModel:
    """An architecture, ours or the user's own; call ``initialise`` for the weights of round 0.

    Args:
        name: as the user writes it.
        num_classes: K.
        image_shape: (C, H, W).
        central: an owner of all images trains a network of the user in training mode.

    Raises:
        UsageError: no such architecture, or a network of the user that cannot be used.
    """
    spec = parse_model(name)
    if not spec.plain:
        return build_custom(spec, num_classes=num_classes, image_shape=image_shape, central=central)
    build = ARCHITECTURES[spec.head].build
    # PyTorch's constructors draw throw-away weights from the global generator, which is not ours to move.
    with torch.random.fork_rng(devices=[]):
        if spec.cut is not None:
            return CutModel(cast("type[Layered]", build), spec.cut, num_classes, image_shape)
        return build(num_classes, image_shape, **dict(spec.parameters))


def schedule_of(name: str) -> Schedule:
    """How this architecture is trained.

    Raises:
        UsageError: no such architecture.
    """
    return custom_schedule(parse_model(name))
