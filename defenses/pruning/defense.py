"""Magnitude pruning of the released gradients (Lin et al. 2018)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext

_EXACT = (torch.float32, torch.float64)
"""What NumPy knows as well."""


class Pruning(Defense):
    """Each client sends, per tensor, only the entries of largest magnitude."""

    def __init__(self, *, ratio: float = 0.9) -> None:
        """Sets the share of entries that is not sent."""
        self.ratio = ratio

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Zeroes all but the largest entries of each client's tensors, ``[N, ...]`` per parameter."""
        return {name: self._largest(value) for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        """Zeros were not sent: an adaptive attacker matches the other entries only."""
        return DefenseView(
            parameters={"ratio": self.ratio},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
        )

    def _largest(self, value: Tensor) -> Tensor:
        rows = value.reshape(len(value), -1)  # a scalar weight has one entry
        kept = max(1, round((1 - self.ratio) * rows.shape[1]))
        plain = rows.device.type == "cpu" and rows.dtype in _EXACT and not rows.requires_grad
        sent = largest(rows, kept) if plain else None
        if sent is None:
            index = rows.abs().topk(kept, dim=1, sorted=False).indices
            sent = rows.new_zeros(rows.shape).scatter(1, index, rows.gather(1, index))
        return sent.view_as(value)


def largest(rows: Tensor, kept: int) -> Tensor | None:
    """The rows without their smaller entries, by NumPy's partition, which is faster than PyTorch's ``topk``.

    Args:
        rows: ``[N, D]`` on the CPU.
        kept: how many entries of each row stay.

    Returns:
        ``[N, D]``; None where some magnitudes are equal, or no numbers, so that one has to choose.
    """
    values = rows.numpy()
    sizes = np.abs(values)
    place = rows.shape[1] - kept
    least = np.partition(sizes, place, axis=1)[:, place, None]
    sent = sizes >= least
    # Zeros are equal, too, but it makes no difference which of them are sent.
    clear = (sent.sum(1, keepdims=True) == kept) | (least == 0)
    return torch.from_numpy(values * sent) if clear.all() else None
