"""The server of the federation: what it does with the mean of the clients' releases."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from bench.models.victims import Schedule

WARM_UP = 0.05
ADAM = (0.9, 0.99)
"""Decay of both moments, as in Reddi et al. 2021."""
ADAPTIVITY = 1e-6

Weights = dict[str, Tensor]


class Server:
    """Holds the global weights and moves them by the rule of a schedule.

    ``sgd``: the averaged update is scaled down to the schedule's norm, then a momentum step. ``adam``:
    FedAdam (Reddi et al., ICLR 2021, Algorithm 2), which trains the wide-start sigmoid network at every
    seed, in fewer rounds.

    Attributes:
        weights: the global weights, with those that nobody trains.
    """

    def __init__(
        self, weights: Weights, schedule: Schedule, rounds: int, *, trained: Iterable[str] | None = None
    ) -> None:
        """Starts from the weights of round 0.

        Args:
            weights: all of them.
            schedule: its rule.
            rounds: that there will be.
            trained: names of those that clients send; None: all.
        """
        # Copies, so that what nobody trains is not the same memory before and after.
        self.weights = {name: value.clone() for name, value in weights.items()}
        self._schedule = schedule
        self._rounds = rounds
        self._turn = 0
        names = weights if trained is None else trained
        self._first = {name: torch.zeros_like(weights[name]) for name in names}
        self._second = {name: torch.zeros_like(weights[name]) for name in names}

    def step(self, means: Weights) -> None:
        """One round.

        Args:
            means: the mean release of the round's clients, by parameter name.
        """
        self._turn += 1
        rate = learning_rate(self._schedule, self._turn / self._rounds)
        steps = self._adam(means) if self._schedule.server == "adam" else self._sgd(means)
        self.weights = self.weights | {name: self.weights[name] - rate * steps[name] for name in steps}

    def _sgd(self, means: Weights) -> Weights:
        norm = torch.stack([value.square().sum() for value in means.values()]).sum().sqrt()
        scale = (self._schedule.clip_norm / norm.clamp_min(1e-12)).clamp_max(1)
        for name in self._first:
            update = scale * means[name] + self._schedule.weight_decay * self.weights[name]
            self._first[name] = self._schedule.momentum * self._first[name] + update
        return self._first

    def _adam(self, means: Weights) -> Weights:
        fast, slow = ADAM
        steps = {}
        for name in self._first:
            self._first[name] = torch.lerp(means[name], self._first[name], fast)
            self._second[name] = torch.lerp(means[name].square(), self._second[name], slow)
            moved = self._first[name] / (1 - fast**self._turn)
            spread = (self._second[name] / (1 - slow**self._turn)).sqrt() + ADAPTIVITY
            steps[name] = moved / spread + self._schedule.weight_decay * self.weights[name]
        return steps


def learning_rate(schedule: Schedule, progress: float) -> float:
    """Linear warm-up over the first rounds, cosine to zero."""
    return schedule.learning_rate * min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))
