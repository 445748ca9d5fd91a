"""What the decoder learns from: images of the attacker, and what would leave a client for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import ImageSet, Query, SmashedObservation

Release = Callable[[Tensor, torch.Generator], Tensor]
_AT_ONCE = 250


@dataclass(frozen=True)
class Pairs:
    """M pairs.

    Attributes:
        activations: ``[M, *Z]``, before the defense's own randomness.
        images: ``[M, C, H, W]``.
        release: the defense at the cut, drawn anew for every step; None where activations leave as they are.
    """

    activations: Tensor
    images: Tensor
    release: Release | None

    @classmethod
    def of(cls, seen: SmashedObservation, query: Query, owned: ImageSet, *, seed: int) -> Pairs:
        """Asks the client once for every image that the attacker owns.

        The naive attacker sends the images as they are. The adaptive one sends what a client would make of
        them, by its own copy of the clients' transform.
        """
        device = seen.activations.device
        images, labels = owned.images.to(device), owned.labels.to(device)
        view, inputs = seen.defense, images
        if view is not None and view.transform is not None:
            known = ImageSet(images, labels)
            imitation = view.transform.learn(known, num_classes=seen.num_classes, seed=seed)
            inputs = imitation.inputs(images, labels)
        with torch.no_grad():
            activations = torch.cat([query(part) for part in inputs.split(_AT_ONCE)])
        return cls(activations, images, None if view is None else view.release)

    def draw(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The pairs ``[S, *Z]``, ``[S, C, H, W]`` of ``index [S]``, each released by itself."""
        activations = self.activations[index]
        if self.release is not None:
            activations = self.release(activations[:, None], generator)[:, 0]
        return activations, self.images[index]

    def batches(self, steps: int, size: int, generator: torch.Generator) -> list[Tensor]:
        """Indices of every step: passes over all pairs, each in a new order."""
        rows, device = len(self.images), self.images.device
        size = min(size, rows)
        passes = -(-steps * size // rows)
        orders = [torch.randperm(rows, generator=generator, device=device) for _ in range(passes)]
        return list(torch.cat(orders)[: steps * size].split(size)) if orders else []
