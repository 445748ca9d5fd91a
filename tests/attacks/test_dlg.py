"""Which starts of DLG are drawn again: by the cost where they end, which the attacker sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.engine import LBFGS, Objective, Optimum, PixelsAndLabels
from bench.plugins import build_attack
from tests.engine.observations import batches, observation


@pytest.mark.parametrize(
    ("ends_at", "settled", "starts"),
    [
        (0.4, 1e-2, 3),
        (0.02, 1e-2, 3),  # stuck between classes
        (0.005, 1e-2, 1),
        (0.4, 0.5, 3),  # settled by that bound, yet hopeless
        (0.02, 0.0, 1),  # the published rule settles nothing
        (0.4, 0.0, 3),
    ],
)
def test_a_start_that_ends_before_its_labels_are_settled_is_drawn_again(
    ends_at: float, settled: float, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observation("lenet", *batches(2, 1))
    met: list[Tensor] = []

    def minimise(self: LBFGS, objective: Objective, start: Tensor, **rest: Any) -> Optimum:
        if isinstance(objective.parametrisation, PixelsAndLabels):
            met.append(start)
        cost = torch.full(start.shape[:1], ends_at)
        return Optimum(start, cost, torch.full(start.shape[:1], 10))

    monkeypatch.setattr(LBFGS, "minimise", minimise)
    build_attack("dlg", {"settled": settled}).reconstruct(seen, budget=1000, seed=0)
    assert len(met) == starts
    assert all(not torch.equal(one, met[0]) for one in met[1:])
