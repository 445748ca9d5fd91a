"""L-BFGS for many victims at once, each with its own line search, history and end.

Every evaluation advances every victim that is still running, wherever its own line search stands.
Finished victims leave the batch. The line search looks for a weak Wolfe point by bracketing (Lewis and
Overton, Math. Programming 2013), which also copes with kinks; the direction comes from
:mod:`bench.engine.minimisers.history`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from bench.engine.minimisers.contract import BatchedObjective, Optimum, Project
from bench.engine.minimisers.history import History

SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 25


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Per-row stopping by what the attacker sees.

    Attributes:
        target: a cost below which the row is minimised; it leaves the batch.
        patience: evaluations between two looks at the progress.
        progress: a row stops if its cost fell by less than this share since the last look.
        abort_cost: a cost that a start on its way to success has left behind after ``chance`` evaluations.
        chance: evaluations after which a row above ``abort_cost`` stops, so that its evaluations are left for
            another start.
    """

    target: float = 0.0
    patience: int = 40
    progress: float = 5e-2
    abort_cost: float = math.inf
    chance: int = 80


@dataclass
class _Slots:
    """The victims that are still running; one row each."""

    victim: Tensor
    point: Tensor
    cost: Tensor
    gradient: Tensor
    direction: Tensor
    descent: Tensor
    step: Tensor
    low: Tensor
    high: Tensor
    trials: Tensor
    spent: Tensor
    seen_cost: Tensor
    seen_at: Tensor
    done: Tensor

    def keep(self, rows: Tensor) -> _Slots:
        return _Slots(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def _open(point: Tensor, cost: Tensor, gradient: Tensor) -> _Slots:
    zeros, count = torch.zeros_like(cost), point.shape[0]
    whole = torch.zeros(count, dtype=torch.long, device=point.device)
    direction, norm = -gradient, gradient.norm(dim=1).clamp_min(1e-30)
    return _Slots(
        victim=torch.arange(count, device=point.device),
        point=point,
        cost=cost,
        gradient=gradient,
        direction=direction,
        descent=-norm.square(),
        step=1 / norm,
        low=zeros,
        high=torch.full_like(cost, torch.inf),
        trials=whole,
        spent=whole + 1,
        seen_cost=cost,
        seen_at=whole + 1,
        done=torch.zeros_like(whole, dtype=torch.bool),
    )


def _closed_ranks(running: Tensor) -> Tensor:
    """Rows that are running ``[N]``, most of them in their own places: the last ones fill the gaps."""
    count = int(running.sum())
    rows = torch.arange(count, device=running.device)
    rows[~running[:count]] = running[count:].nonzero()[:, 0] + count
    return rows


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Limited-memory BFGS over N victims.

    Attributes:
        history: remembered pairs of each victim.
        line_search: ``wolfe`` for the weak conditions; ``strong``, which also refuses a step past the
            minimum along the line; ``fixed`` for the published rule (step 1, no search at all), which is
            unstable and kept for comparison.
        stopping: when a row ends before its evaluations are spent.
    """

    history: int = 100
    line_search: str = "wolfe"
    stopping: Stopping = field(default_factory=Stopping)

    def minimise(
        self,
        objective: BatchedObjective,
        start: Tensor,
        *,
        evaluations: Tensor,
        project: Project | None = None,
    ) -> Optimum:
        """Minimises rows ``[N, D]``, each of which may evaluate at least once.

        A row that starts at a non-finite cost ends there. The line search goes along projected points.
        """
        start = project(start) if project else start
        best = start.clone()
        best_cost = torch.full(start.shape[:1], torch.inf, dtype=start.dtype, device=start.device)
        spent = torch.ones_like(evaluations)
        slots = _open(start, *objective(start))
        memory = History.empty(start.shape[0], self.history, start)
        while True:
            self._end(slots, evaluations[slots.victim])
            # Every batch of another size costs some calls: wait until a tenth of it is idle.
            if slots.done.float().mean() >= 0.1:
                gone = slots.keep(slots.done.nonzero()[:, 0])
                best[gone.victim], best_cost[gone.victim], spent[gone.victim] = (
                    gone.point,
                    gone.cost,
                    gone.spent,
                )
                rows = _closed_ranks(~slots.done)
                if not len(rows):
                    return Optimum(best, best_cost, spent)
                slots, memory, objective = slots.keep(rows), memory.keep(rows), objective.select(rows)
            trial = slots.point + slots.step.unsqueeze(1) * slots.direction
            trial = project(trial) if project else trial
            cost, gradient = objective(trial)
            self._advance(slots, memory, trial, cost, gradient)

    def _end(self, slots: _Slots, evaluations: Tensor) -> None:
        """Marks the rows whose end has come, and moves the marks of the progress rule."""
        stopping = self.stopping
        look = slots.spent - slots.seen_at >= stopping.patience
        stuck = look & (slots.cost > (1 - stopping.progress) * slots.seen_cost)
        slots.seen_cost = torch.where(look, slots.cost, slots.seen_cost)
        slots.seen_at = torch.where(look, slots.spent, slots.seen_at)
        lost = (slots.spent >= stopping.chance) & (slots.cost > stopping.abort_cost)
        ended = (slots.cost <= stopping.target) | (slots.spent >= evaluations) | stuck | lost
        slots.done = slots.done | ended | (slots.trials > MAX_TRIALS) | ~torch.isfinite(slots.cost)

    def _advance(self, slots: _Slots, memory: History, trial: Tensor, cost: Tensor, gradient: Tensor) -> None:
        """Digests one evaluation of every row: accept and turn, or shrink or stretch the step."""
        active = ~slots.done
        slots.spent = slots.spent + active.long()
        finite = torch.isfinite(cost) & torch.isfinite(gradient).all(dim=1)
        if self.line_search == "fixed":
            accept, enough = active & finite, torch.ones_like(active)
            slots.cost = torch.where(active & ~finite, torch.nan, slots.cost)
        else:
            enough = finite & (cost <= slots.cost + SUFFICIENT_DECREASE * slots.step * slots.descent)
            derivative = (gradient * slots.direction).sum(1)
            if self.line_search == "strong":
                enough = enough & (derivative <= -CURVATURE * slots.descent)
            accept = active & enough & (derivative >= CURVATURE * slots.descent)
        searching = active & ~accept
        self._bracket(slots, cost, finite, enough, searching)
        self._turn(slots, memory, trial, cost, gradient, accept)
        self._reset(slots, memory, searching)

    @staticmethod
    def _bracket(slots: _Slots, cost: Tensor, finite: Tensor, enough: Tensor, searching: Tensor) -> None:
        """Moves the bracket of rows whose step was too long or too short, and picks the next step."""
        too_long, too_short = searching & ~enough, searching & enough
        slots.high = torch.where(too_long, slots.step, slots.high)
        slots.low = torch.where(too_short, slots.step, slots.low)
        bounded = torch.isfinite(slots.high)
        middle = torch.where(bounded, (slots.low + slots.high) / 2, 2 * slots.step)
        # From zero, the parabola through both costs and the derivative is a better guess than the middle.
        excess = (cost - slots.cost - slots.step * slots.descent).clamp_min(1e-30)
        parabola = -slots.descent * slots.step.square() / (2 * excess)
        guess = torch.maximum(0.1 * slots.step, torch.minimum(parabola, 0.5 * slots.step))
        use_guess = too_long & finite & (slots.low == 0)
        slots.step = torch.where(searching, torch.where(use_guess, guess, middle), slots.step)
        slots.trials = torch.where(searching, slots.trials + 1, slots.trials)

    @staticmethod
    def _turn(
        slots: _Slots, memory: History, trial: Tensor, cost: Tensor, gradient: Tensor, accept: Tensor
    ) -> None:
        """Moves accepted rows to their trial point and gives them a new direction."""
        if not accept.any():
            return
        taken = accept.unsqueeze(1)
        step, change = trial - slots.point, gradient - slots.gradient
        slots.point = torch.where(taken, trial, slots.point)
        slots.cost = torch.where(accept, cost, slots.cost)
        slots.gradient = torch.where(taken, gradient, slots.gradient)
        direction = memory.turn(step, change, slots.gradient, accept)
        descent = (direction * slots.gradient).sum(1)
        norms = direction.norm(dim=1) * slots.gradient.norm(dim=1)
        broken = accept & ~(descent < -1e-10 * norms)
        memory.forget(broken)
        direction = torch.where(broken.unsqueeze(1), -slots.gradient, direction)
        descent = torch.where(broken, -slots.gradient.square().sum(1), descent)
        first = 1 / slots.gradient.norm(dim=1).clamp_min(1e-30)
        slots.direction = torch.where(taken, direction, slots.direction)
        slots.descent = torch.where(accept, descent, slots.descent)
        slots.step = torch.where(
            accept, torch.where(broken, first.clamp_max(1), torch.ones_like(first)), slots.step
        )
        slots.low = torch.where(accept, 0.0, slots.low)
        slots.high = torch.where(accept, torch.inf, slots.high)
        slots.trials = torch.where(accept, 0, slots.trials)

    @staticmethod
    def _reset(slots: _Slots, memory: History, searching: Tensor) -> None:
        """A row whose search is exhausted forgets its history once and tries steepest descent."""
        lost = searching & (slots.trials == MAX_TRIALS) & memory.filled()
        if not lost.any():
            return
        memory.forget(lost)
        norm = slots.gradient.norm(dim=1).clamp_min(1e-30)
        slots.direction = torch.where(lost.unsqueeze(1), -slots.gradient, slots.direction)
        slots.descent = torch.where(lost, -norm.square(), slots.descent)
        slots.step = torch.where(lost, (1 / norm).clamp_max(1), slots.step)
        slots.low = torch.where(lost, 0.0, slots.low)
        slots.high = torch.where(lost, torch.inf, slots.high)
        slots.trials = torch.where(lost, 0, slots.trials)
