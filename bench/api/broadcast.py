"""What an attacker who is the server of a federation may do to its clients."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from bench.api.gradients import Gradients


class Broadcast(Protocol):
    """The clients of the attacked batches, who compute on the model that the server sends, once."""

    def release(self, *, weight: Tensor, bias: Tensor, back: Tensor, offset: Tensor) -> Gradients:
        """Sends the network with two layers in front: ``network(offset + back relu(weight x + bias))``.

        Args:
            weight: ``[M, D]`` for images of D numbers.
            bias: ``[M]``.
            back: ``[D, M]``.
            offset: ``[D]``.

        Returns:
            What the clients send back through their defense, ``[N, ...]`` by name: ``front.in.weight``,
            ``front.in.bias``, ``front.out.weight``, ``front.out.bias``, and those of the network, which begin
            with ``network.``.
        """
