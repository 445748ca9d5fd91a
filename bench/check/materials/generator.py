"""A small real generator for attacks that search one: trained as in a cell, but briefly."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from bench.api import ImageGenerator, Splits
from bench.models.base import Shape
from bench.victims.generator import SCHEDULES, Schedule, load_generator, train_generator


def briefly_trained(kind: str, splits: Splits, image_shape: Shape) -> ImageGenerator:
    """A generator that has learned from the auxiliary split for a few seconds; it is no result.

    Args:
        kind: a key of :data:`~bench.victims.generator.SCHEDULES`.
        splits: the private ones are only looked at to be sure that none of their images is auxiliary.
        image_shape: (C, H, W).
    """
    private = (splits.private_train, splits.private_test)
    with _brief(kind):
        found = train_generator(kind, splits.auxiliary, private=private, image_shape=image_shape, seed=0)
        return load_generator(kind, found.state, image_shape)


def _shortened(schedule: Schedule) -> Schedule:
    """Few steps on a narrow network, in which digits can be told apart."""
    if schedule.adversarial:
        return replace(schedule, steps=120, batch=32, width=16, critic_steps=2, learning_rate=1e-3)
    return replace(schedule, steps=300, batch=32, width=16)


@contextmanager
def _brief(kind: str) -> Iterator[None]:
    """Shortens the schedule of a kind meanwhile."""
    kept = SCHEDULES[kind]
    SCHEDULES[kind] = _shortened(kept)
    try:
        yield
    finally:
        SCHEDULES[kind] = kept


def in_double(generator: ImageGenerator | None) -> ImageGenerator | None:
    """The same generator in float64."""
    if generator is None:
        return None
    critic: nn.Module | None = None if generator.critic is None else copy.deepcopy(generator.critic).double()
    return replace(generator, decoder=copy.deepcopy(generator.decoder).double(), critic=critic)
