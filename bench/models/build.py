"""Architectures by name: ours, or the user's own."""

from __future__ import annotations

import torch

from bench.models.base import Shape, VictimModel
from bench.models.custom import build_custom, custom_schedule
from bench.models.names import MODELS
from bench.models.spec import parse_model
from bench.models.split import SplitModel
from bench.models.victims import ARCHITECTURES, Schedule


def build_model(name: str, *, num_classes: int, image_shape: Shape) -> VictimModel:
    """An architecture, ours or the user's own; call ``initialise`` for the weights of round 0.

    Raises:
        UsageError: no such architecture, or a network of the user that cannot be used.
    """
    if name not in MODELS:
        return build_custom(parse_model(name), num_classes=num_classes, image_shape=image_shape)
    # PyTorch's constructors draw throw-away weights from the global generator, which is not ours to move.
    with torch.random.fork_rng(devices=[]):
        return ARCHITECTURES[name].build(num_classes, image_shape)


def schedule_of(name: str) -> Schedule:
    """How this architecture is trained.

    Raises:
        UsageError: no such architecture.
    """
    if name not in MODELS:
        return custom_schedule(parse_model(name))
    return ARCHITECTURES[name].schedule


def is_cut(name: str, *, num_classes: int, image_shape: Shape) -> bool:
    """Whether a network is cut into a client's and a server's half."""
    return isinstance(build_model(name, num_classes=num_classes, image_shape=image_shape), SplitModel)
