"""Least squares for many victims at once: conjugate gradients on the normal equations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]


def cgls(
    apply: Linear,
    adjoint: Linear,
    target: Tensor,
    *,
    iterations: int,
    tolerance: float = 1e-10,
    patience: int = 40,
    progress: float = 1e-2,
) -> tuple[Tensor, Tensor]:
    """Minimises ``||A x - b||`` of every row from x = 0 (Hestenes and Stiefel 1952; Bjorck 1996, 7.4).

    Past convergence, rounding and noise are fitted, so a row stops as soon as its residual stands still.

    Args:
        apply: ``[N, D] -> [N, M]``, A of every row.
        adjoint: ``[N, M] -> [N, D]``, its transpose.
        target: ``[N, M]``, b.
        iterations: at most.
        tolerance: a row stops when the gradient of its square has fallen to this share of its start.
        patience: iterations between two looks at the residual.
        progress: a row stops if its residual fell by less than this share since the last look.

    Returns:
        x ``[N, D]`` and the iterations of each row, int64 ``[N]``.
    """
    residual = target
    slope = adjoint(residual)
    direction, energy = slope, slope.square().sum(1)
    point, spent = torch.zeros_like(slope), torch.zeros(len(slope), dtype=torch.long, device=slope.device)
    first, seen = energy, residual.norm(dim=1)
    running = torch.isfinite(energy) & (energy > 0)
    for turn in range(1, iterations + 1):
        if not running.any():
            break
        image = apply(direction)
        length = torch.where(running, energy / image.square().sum(1), 0.0).unsqueeze(1)
        point, residual = point + length * direction, residual - length * image
        spent = spent + running.long()
        slope = adjoint(residual)
        grown = slope.square().sum(1)
        direction = slope + torch.where(running, grown / energy, 0.0).unsqueeze(1) * direction
        energy = torch.where(running, grown, energy)
        running = running & torch.isfinite(grown) & (grown > tolerance**2 * first)
        if turn % patience == 0:
            norm = residual.norm(dim=1)
            running, seen = running & (norm < (1 - progress) * seen), norm
    return point, spent
