"""For tests marked `gpu`: an observation on another device, and arithmetic comparable with a CPU's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import replace

import torch

from bench.api import GradientObservation, ImageGenerator


def moved(seen: GradientObservation, device: str) -> GradientObservation:
    return replace(
        seen,
        model=deepcopy(seen.model).to(device),
        parameters={name: value.to(device) for name, value in seen.parameters.items()},
        gradients={name: value.to(device) for name, value in seen.gradients.items()},
        ids=seen.ids.to(device),
        generator=moved_generator(seen.generator, device),
    )


def moved_generator(generator: ImageGenerator | None, device: str) -> ImageGenerator | None:
    if generator is None:
        return None
    critic = None if generator.critic is None else deepcopy(generator.critic).to(device)
    return replace(generator, decoder=deepcopy(generator.decoder).to(device), critic=critic)


def exact() -> AbstractContextManager[None]:
    """cuDNN in full float32, as workers have it: its default, TF32, keeps ten bits."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
