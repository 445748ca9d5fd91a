"""NoPeek (Vepakomma, Singh, Gupta, Raskar, ICDM Workshops 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import Defense, HookContext, ImageSet
from bench.defenses.nopeek.distance import distance_correlation


class NoPeek(Defense):
    """Clients learn activations of small distance correlation with their inputs."""

    def __init__(self, *, weight: float = 10.0) -> None:
        """Sets the weight of the distance correlation beside the task's loss."""
        self.weight = weight

    def loss(self, inputs: Tensor, activations: Tensor, context: HookContext) -> Tensor:
        """``weight * DCOR(inputs, activations)`` over each client's batch, averaged over the clients."""
        return self.weight * distance_correlation(inputs.flatten(2), activations.flatten(2)).mean()

    @torch.no_grad()
    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """The distance correlation reached on test images: weights alone mean little across networks."""
        client = model.get_submodule("client")
        activations = torch.cat([client(images) for images in test.images.split(250)])
        # In double precision: a thousand images are far apart, and some pairs of them close together.
        reached = distance_correlation(test.images.flatten(1).double(), activations.flatten(1).double())
        return {"distance_correlation": reached.item()}
