"""The distance of gradients: Euclidean in every weight tensor, not squared, and added up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api.gradients import Gradients, rows_of_each
from bench.engine.matching import Transmitted


@dataclass(frozen=True)
class TensorNorms:
    """``L_grad = alpha_G sum_l ||grad_l - g_l||`` (Yin et al. 2021, Eq. 2).

    Near its minimum it falls in proportion to the distance, not to its square, so that steps of Adam stay
    sure of their direction until the rate has fallen.

    Attributes:
        transmitted: restricts the norms to the entries that carry information.
        weight: alpha_G.
        relative: divided by ``sum_l ||g_l||``, which moves no minimum of it and makes the weights of all
            priors serve networks and checkpoints whose gradients differ by orders of magnitude.
    """

    transmitted: Transmitted | None = None
    weight: float = 1.0
    relative: bool = True

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]``; if relative, the weight for a candidate of zeros."""
        mask = {} if self.transmitted is None else self.transmitted(observed)
        gap = _norms({name: candidate[name] - value for name, value in observed.items()}, mask)
        if not self.relative:
            return self.weight * gap
        return self.weight * gap / _norms(observed, mask).clamp_min(torch.finfo(gap.dtype).tiny)


def _norms(gradients: Gradients, mask: Gradients) -> Tensor:
    rows = {name: rows_of_each(value * mask[name] if mask else value) for name, value in gradients.items()}
    return torch.stack([row.norm(dim=1) for row in rows.values()]).sum(0)
