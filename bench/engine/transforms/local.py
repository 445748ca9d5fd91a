"""What clients send after local steps, as a function of their images (Dimitrov et al., TMLR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from bench.api.gradients import Gradients
from bench.api.observation import GradientObservation
from bench.api.threat import LocalTraining

Loss = Callable[..., tuple[Tensor, Any]]
"""``(weights, still, images [B, ...], targets [B, K], and perhaps drawn [B, ...]) -> scalar, beside``."""

MOST_STEPS = 40
"""That a search simulates: each takes as much time and memory as a gradient."""


def simulated(observation: GradientObservation) -> LocalTraining | None:
    """The local steps that a search simulates; None where there are none, or it takes them for one gradient.

    That is so where they take more steps than :data:`MOST_STEPS`.
    """
    local = observation.threat.local
    if local is None or local.steps(observation.batch_size) > MOST_STEPS:
        return None
    return local


def unrolled(loss: Loss, local: LocalTraining) -> Callable[..., tuple[Gradients, Any]]:
    """The mean gradient along a client's steps, and what the first of them found beside its loss.

    Exact where a client takes all images at once. Where it takes fewer, in orders that nobody else knows, the
    simulation has one order for all passes: that of the labels which the search assumes.

    Args:
        loss: of one batch.
        local: the steps.

    Returns:
        A function of the arguments of ``loss``, to be differentiated through.
    """

    def update(
        weights: Mapping[str, Tensor], still: Mapping[str, Tensor], *batch: Tensor
    ) -> tuple[Gradients, Any]:
        here, found, beside = dict(weights), list[Gradients](), None
        for rows in _steps(local, len(batch[0])):
            gradients, noted = grad(loss, has_aux=True)(here, still, *(value[rows] for value in batch))
            here = {name: value - local.learning_rate * gradients[name] for name, value in here.items()}
            found.append(gradients)
            beside = noted if beside is None else beside
        return {name: torch.stack([one[name] for one in found]).mean(0) for name in here}, beside

    return update


def _steps(local: LocalTraining, images: int) -> Iterator[slice]:
    size = local.batch_size or images
    for _ in range(local.epochs):
        for start in range(0, images, size):
            yield slice(start, start + size)
