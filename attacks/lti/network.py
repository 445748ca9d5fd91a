"""The network from a release to the images that it is of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Inverter(nn.Module):
    """Three linear layers with ReLU between them, and a linear reading of the labels.

    Attributes:
        shape: (B, C, H, W).
    """

    def __init__(self, features: int, width: int, shape: tuple[int, ...], classes: int) -> None:
        """Builds the layers; :meth:`drawn` draws them."""
        super().__init__()
        self.shape = shape
        pixels = int(torch.Size(shape).numel())
        self.body = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.images = nn.Linear(width, pixels)
        self.labels = nn.Linear(width, shape[0] * classes)

    @classmethod
    def drawn(
        cls, features: Tensor, shape: tuple[int, ...], *, classes: int, width: int, seed: int
    ) -> Inverter:
        """For features like ``[..., D]``, with weights of U(-1/sqrt(fan in), 1/sqrt(fan in))."""
        with torch.random.fork_rng(devices=[]):
            network = cls(features.shape[-1], width, shape, classes)
        generator = torch.Generator().manual_seed(seed)
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                for values in layer.parameters():
                    nn.init.uniform_(values, -bound, bound, generator=generator)
        return network.to(features)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[S, B, C, H, W]`` in [0, 1] and class scores ``[S, B, K]`` of features ``[S, D]``.

        The labels are read off what serves the images: they teach the layers below nothing.
        """
        hidden = self.body(features)
        images = self.images(hidden).sigmoid().unflatten(1, self.shape)
        return images, self.labels(hidden.detach()).unflatten(1, (self.shape[0], -1))


def nearest_order(found: Tensor, truth: Tensor) -> Tensor:
    """Which of a batch's images each output stands for, int64 ``[S, B]``: the cheapest one-to-one assignment.

    What is sent of a batch does not tell the order of its images.

    Args:
        found: ``[S, B, ...]``, outputs.
        truth: ``[S, B, ...]``, images.
    """
    from scipy.optimize import linear_sum_assignment  # imported late: it takes most of a second

    if found.shape[1] == 1:
        return torch.zeros(found.shape[:2], dtype=torch.int64, device=found.device)
    costs = torch.cdist(found.flatten(2), truth.flatten(2)).square().cpu().numpy()
    columns = np.stack([linear_sum_assignment(cost)[1] for cost in costs])
    return torch.from_numpy(columns).to(found.device)
