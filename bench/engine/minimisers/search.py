"""Restarts of the victims whose attempt failed, inside one budget per victim, and chunks of victims."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.api.observation import GradientObservation
from bench.engine.memory import AT_ONCE
from bench.engine.minimisers.optimum import Optimum

Attempt = Callable[[GradientObservation, int, Tensor], Optimum]


def search(
    observation: GradientObservation,
    attempt: Attempt,
    *,
    budget: int,
    failed: Callable[[Tensor], Tensor],
    restarts: int,
    chunk: int = AT_ONCE,
    reserve: float = 0.2,
) -> Optimum:
    """Attempts every victim, and again those that failed, until the budget is spent.

    Args:
        observation: all victims.
        attempt: ``(observation, restart, budget [N]) -> Optimum``; draws its starts by (restart, victim id).
        budget: evaluations per victim over all its attempts.
        failed: costs ``[N]`` -> bool ``[N]``, by what the attacker sees.
        restarts: further attempts that a victim may have.
        chunk: victims in one graph, see :func:`~bench.engine.memory.chunk_size`.
        reserve: the smallest share of the budget that is worth another attempt.

    Returns:
        Each victim's attempt of lowest cost, with the evaluations of all its attempts.
    """
    parts = [
        _restarted(observation.select(rows), attempt, budget, failed, restarts, reserve)
        for rows in torch.arange(observation.victims, device=observation.ids.device).split(chunk)
    ]
    return Optimum(
        torch.cat([part.point for part in parts]),
        torch.cat([part.cost for part in parts]),
        torch.cat([part.evaluations for part in parts]),
    )


def _restarted(
    observation: GradientObservation,
    attempt: Attempt,
    budget: int,
    failed: Callable[[Tensor], Tensor],
    restarts: int,
    reserve: float,
) -> Optimum:
    first = attempt(observation, 0, torch.full_like(observation.ids, budget))
    point, cost, spent = first.point, first.cost, first.evaluations
    for restart in range(1, restarts + 1):
        again = failed(cost) | ~torch.isfinite(cost)
        rows = (again & (budget - spent >= max(1.0, reserve * budget))).nonzero()[:, 0]
        if not len(rows):
            break
        found = attempt(observation.select(rows), restart, budget - spent[rows])
        spent[rows] += found.evaluations
        better = found.cost < cost[rows].nan_to_num(torch.inf)
        point[rows[better]], cost[rows[better]] = found.point[better], found.cost[better]
    return Optimum(point, cost, spent)
