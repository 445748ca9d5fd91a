"""MixUp: clients train on mixtures of their images (Zhang et al., ICLR 2018; Huang et al., NeurIPS 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import ClientLoss, CrossEntropy, Defense, DefenseView, HookContext, Observed

_SCALE = 2.0
"""Of an attacker's unknown weights: from N(0, 1), the largest of a row of four is then .66 on the mean."""


class MixUp(Defense):
    """In place of each of its images a client takes a weighted mean of k of them, and of their labels."""

    def __init__(self, *, images: int = 4, largest: float = 0.65) -> None:
        """Sets k, the number of images in a mixture, and the largest weight that one of them may have."""
        self.images = images
        self.largest = largest

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss:
        """Each mixture has k images of the batch and weights of its own, a row of ``[N, B, B]``."""
        return ClientLoss(of_batch=_loss, drawn=self._weights(images, context.generator))

    def _weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of weights ``[N, B, B]``: k of them uniform on the simplex, then no larger than the bound.

        Image i has a part in mixture i; the others are drawn without repetition. A batch of fewer than k
        images is mixed as a whole.
        """
        size = images.shape[1]
        blank = images.new_zeros(len(images), size, size)
        order = blank.clone().uniform_(generator=generator)
        order.diagonal(dim1=1, dim2=2).fill_(2.0)
        mixed = min(self.images, size)
        taken = blank.scatter(2, order.topk(mixed, 2).indices, 1.0)
        # Exponential numbers, divided by their sum, are uniform on the simplex.
        drawn = blank.clone().exponential_(generator=generator).clamp_min(1e-12) * taken
        weights = drawn / drawn.sum(2, keepdim=True)
        even = 1 / mixed
        most = weights.amax(2, keepdim=True)
        spread = ((max(self.largest, even) - even) / (most - even).clamp_min(1e-12)).clamp_max(1.0)
        return even * taken + spread * (weights - even * taken)

    def view(self) -> DefenseView:
        """The loss of mixtures; their weights are unknown, and may be searched beside the images."""
        return DefenseView(
            parameters={"images": self.images, "largest": self.largest}, client_loss=self._assumed
        )

    def _assumed(self, seen: Observed) -> ClientLoss:
        """Weights on a simplex, from unknowns that are standard normal; without a search each image alone."""
        size = seen.threat.batch_size
        alone = torch.eye(size).to(seen.reference).expand(seen.victims, size, size)
        return ClientLoss(of_batch=_loss, drawn=alone, searched=lambda point: (_SCALE * point).softmax(-1))


def _loss(
    model: nn.Module, images: Tensor, targets: Tensor, drawn: Tensor, cross_entropy: CrossEntropy
) -> Tensor:
    """The mean cross-entropy of a client's mixtures ``[B, B] @ [B, ...]`` with labels mixed alike."""
    mixed = (drawn @ images.flatten(1)).view_as(images)
    return cross_entropy(model(mixed), drawn @ targets)
