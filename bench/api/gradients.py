"""Gradients of many releases, and the loss that they are gradients of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

Gradients = Mapping[str, Tensor]
"""Parameter name -> ``[N, *parameter shape]``: the gradients of N releases."""

BatchLoss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor], Tensor]
"""``(weights, still, images [B, ...], targets [B, K]) -> scalar``: one client's loss.

``weights`` are those to be differentiated; ``still`` holds all weights, as constants.
"""


def rows_of_each(value: Tensor) -> Tensor:
    """A gradient ``[N, ...]`` as a row ``[N, P]`` of each release; that of a scalar weight has one number."""
    return value.flatten(1) if value.dim() > 1 else value[:, None]
