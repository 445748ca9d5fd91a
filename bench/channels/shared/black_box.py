"""A released classifier as a black box."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api.access import ModelAccess

_AT_ONCE = 256


class BlackBox:
    """Answers images, and counts them.

    In a run it stays in the worker, and an attack's process calls it through a pipe: neither the network nor
    a graph through it is where the attack is.

    Attributes:
        asked: images that were answered so far.
    """

    def __init__(self, network: nn.Module, access: ModelAccess) -> None:
        """Hides a network.

        Args:
            network: images ``[M, C, H, W]`` -> scores ``[M, K]``, in evaluation mode.
            access: how much an answer says, ``score`` or ``label``.
        """
        self._network = network
        self._access = access
        self.asked = 0

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Softmax scores ``[M, K]`` or classes int64 ``[M]`` of images ``[M, C, H, W]`` of any float type."""
        self.asked += len(images)
        like = next(self._network.parameters())
        scores = torch.cat([self._network(part.to(like)) for part in images.detach().split(_AT_ONCE)])
        found = scores.argmax(1) if self._access is ModelAccess.LABEL else scores.softmax(1).to(images)
        return found.to(images.device)
