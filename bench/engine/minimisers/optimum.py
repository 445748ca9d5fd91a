"""When to stop, and what an optimiser returns: shared by all optimisers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Optimum:
    """Where the optimisation of each victim ended.

    Attributes:
        point: ``[N, D]``, each victim's best iterate by its own cost.
        cost: ``[N]``.
        evaluations: int64 ``[N]``.
    """

    point: Tensor
    cost: Tensor
    evaluations: Tensor


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Per-victim stopping by what the attacker sees.

    Attributes:
        target: a cost below which the victim is reconstructed; it leaves the batch.
        patience: evaluations between two looks at the progress.
        progress: a victim stops if its cost fell by less than this share since the last look.
        abort_cost: a cost that a start on its way to success has left behind after ``chance`` evaluations.
        chance: evaluations after which a victim above ``abort_cost`` stops, so that its budget is left for
            another start.
    """

    target: float = 0.0
    patience: int = 40
    progress: float = 5e-2
    abort_cost: float = math.inf
    chance: int = 80
