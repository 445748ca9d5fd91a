"""Training of the independent evaluator, on the auxiliary split alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet
from bench.api.errors import BenchError
from bench.api.rows import FEWEST_OF_A_PART
from bench.models.base import Shape
from bench.models.evaluator import Evaluator
from bench.models.face_embedder import FaceEmbedder
from bench.models.weights import embedder_missing
from bench.victims.training import stream

EPOCHS = 12
BATCH = 64
FEW_STEPS = 60
"""The least of any training; on fewer images than one batch, this is half of them."""
MAX_SHIFT = 2


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to MAX_SHIFT pixels, so that it tolerates misplaced reconstructions."""
    down, right = (
        int(torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (1,), generator=generator).item()) for _ in range(2)
    )
    padded = nn.functional.pad(images, (MAX_SHIFT,) * 4, mode="replicate")
    height, width = images.shape[-2:]
    return padded[..., MAX_SHIFT + down :, MAX_SHIFT + right :][..., :height, :width]


def train_evaluator(
    auxiliary: ImageSet, *, num_classes: int, image_shape: Shape, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """Trains the evaluator on images that no victim has seen.

    Args:
        auxiliary: the auxiliary split.
        num_classes: K.
        image_shape: (C, H, W).
        seed: of weights, order, shifts and dropout.
        device: where to train.

    Returns:
        Its state (weights and BatchNorm statistics).

    Raises:
        BenchError: too few images.
    """
    if len(auxiliary) < FEWEST_OF_A_PART:
        raise BenchError(
            f"the evaluator needs at least {FEWEST_OF_A_PART} auxiliary images, "
            f"the data set's split has {len(auxiliary)}"
        )
    generator = stream(seed, "evaluator", torch.device("cpu"))
    network = Evaluator.build(num_classes, image_shape)
    network.initialise(generator)
    network.to(device).train()
    # Dropout draws from the global state: it is forked and seeded, so that nothing outside changes.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        _fit(network, auxiliary, generator, device)
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _fit(network: Evaluator, data: ImageSet, generator: torch.Generator, device: torch.device) -> None:
    batch = BATCH if len(data) >= BATCH else len(data) // 2
    full = len(data) // batch
    epochs = max(EPOCHS, -(-FEW_STEPS // full))
    steps = epochs * full
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=generator)
        for index in order.split(batch)[: len(data) // batch]:
            scores = network(_shifted(data.images[index], generator).to(device))
            loss = nn.functional.cross_entropy(scores, data.labels[index].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


Scores = Callable[[Tensor], Tensor]
"""Images ``[M, C, H, W]`` -> a row for each."""


def load_evaluator(
    state: dict[str, Tensor], *, num_classes: int, image_shape: Shape, device: torch.device
) -> Scores:
    """The evaluator as a function from images ``[M, C, H, W]`` to class scores ``[M, K]``."""
    network = _loaded(state, num_classes, image_shape, device)
    return _in_parts(network, device)


def load_features(
    state: dict[str, Tensor], *, num_classes: int, image_shape: Shape, device: torch.device
) -> Scores:
    """The evaluator as a function from images ``[M, C, H, W]`` to its features ``[M, E]``."""
    return _in_parts(_loaded(state, num_classes, image_shape, device).pooled, device)


def load_second(name: str, device: torch.device) -> Scores | None:
    """The second evaluator that a data set's card names, images ``[M, C, H, W]`` -> ``[M, G]``.

    Returns:
        None where the card names none, or its weights are not on this machine.
    """
    if not name or embedder_missing(name):
        return None
    return _in_parts(FaceEmbedder.shipped(device), device)


def _loaded(
    state: dict[str, Tensor], num_classes: int, image_shape: Shape, device: torch.device
) -> Evaluator:
    network = Evaluator.build(num_classes, image_shape)
    network.load_state_dict(state)
    return network.to(device).eval()


def _in_parts(function: Scores, device: torch.device) -> Scores:
    @torch.no_grad()
    def in_parts(images: Tensor) -> Tensor:
        return torch.cat([function(part) for part in images.to(device).split(500)])

    return in_parts
