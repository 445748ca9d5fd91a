"""Magnitude pruning of the released gradients (Lin et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext


class Pruning(Defense):
    """Each client sends, per tensor, only the entries of largest magnitude."""

    def __init__(self, *, ratio: float = 0.9) -> None:
        """Sets the share of entries that is not sent."""
        self.ratio = ratio

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Zeroes all but the largest entries of each client's tensors, ``[N, ...]`` per parameter."""
        return {name: self._largest(value) for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        """Zeros were not sent: an informed attacker matches the other entries only."""
        return DefenseView(
            parameters={"ratio": self.ratio},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
        )

    def _largest(self, value: Tensor) -> Tensor:
        rows = value.flatten(1)
        kept = max(1, round((1 - self.ratio) * rows.shape[1]))
        index = rows.abs().topk(kept, dim=1, sorted=False).indices
        sent = rows.new_zeros(rows.shape).scatter(1, index, rows.gather(1, index))
        return sent.view_as(value)
