"""How good a trained generator is, and when it is too bad to be anybody's prior."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.api.dataset import Data
from bench.api.errors import BenchError
from bench.models.weights import GENERATORS
from bench.rounding import finite

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEAST_DIVERSITY = 0.4
"""Of the distance of two auxiliary images; below it the samples repeat each other."""
LEAST_CLASSES = 0.5
"""Share of the classes that the samples must be spread over; one that was trained elsewhere owes none."""


def fidelity(
    kind: str, samples: Tensor, data: Data, evaluator: dict[str, Tensor], device: torch.device
) -> dict[str, Any]:
    """What is known of a generator's quality, as facts to be stored.

    Args:
        kind: which generator.
        samples: ``[M, C, H, W]`` of latents as they came; none is left out.
        data: samples are set beside its auxiliary images, these beside ``private_test``, which the attacker
            never sees: it only says how far apart two sets of real images are.
        evaluator: the evaluator's state.
        device: where to compute.

    Raises:
        BenchError: the generator collapsed, or a sample is not finite.
    """
    from bench.metrics.fidelity import (
        Fidelity,
        confident,
        effective_classes,
        frechet_distance,
        spread,
    )
    from bench.victims.evaluator import load_evaluator, load_features

    broken = int((~samples.flatten(1).isfinite().all(1)).sum())
    if broken:
        raise BenchError(f"generator {kind}: {broken} of {len(samples)} samples are not finite")
    shape: dict[str, Any] = {
        "num_classes": data.dataset.num_classes,
        "image_shape": data.dataset.image_shape,
        "device": device,
    }
    classify, features = load_evaluator(evaluator, **shape), load_features(evaluator, **shape)
    known, other = data.splits.auxiliary.images, data.splits.private_test.images
    found = Fidelity(
        frechet=frechet_distance(features(samples), features(known)),
        frechet_real=frechet_distance(features(other), features(known)),
        confident=confident(classify(samples)),
        confident_real=confident(classify(other)),
        classes=effective_classes(classify(samples)),
        diversity=spread(samples) / spread(known[: len(samples)]),
    )
    wanted = 0.0 if kind in GENERATORS else LEAST_CLASSES * data.dataset.num_classes
    if found.diversity < LEAST_DIVERSITY or found.classes < wanted:
        raise BenchError(
            f"generator {kind} collapsed: its samples differ by {found.diversity:.2f} of what auxiliary "
            f"images do (at least {LEAST_DIVERSITY}) and show {found.classes:.1f} of "
            f"{data.dataset.num_classes} classes (at least {wanted:g}); more auxiliary images or a longer "
            "schedule may help"
        )
    return {name: finite(value) for name, value in asdict(found).items()}
