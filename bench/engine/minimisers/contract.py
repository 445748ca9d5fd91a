"""The one contract of all minimisers: a function of many rows in, the best point of every row out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

Project = Callable[[Tensor], Tensor]
"""``points [N, ...] -> [N, ...]``, the nearest ones that are allowed, e.g. in a box."""


class BatchedObjective(Protocol):
    """A function of N independent rows of unknowns."""

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        """One evaluation.

        Args:
            point: ``[N, ...]``.
            share: what is left of a cost that fades along a schedule, from 1 at its start to 0. It guides
                the gradients and is no part of the costs, so that those of all evaluations can be compared.

        Returns:
            Costs ``[N]`` and gradients, like the point; both detached.
        """

    def select(self, rows: Tensor) -> Self:
        """The objective of some of the rows."""

    def attempt(self, number: int) -> Self:
        """What the rows minimise when they start again for the ``number``-th time; mostly the same."""
        return self


@dataclass(frozen=True)
class Optimum:
    """Where the minimisation of each row ended.

    Attributes:
        point: ``[N, ...]``, each row's best iterate by its own cost.
        cost: ``[N]``.
        evaluations: int64 ``[N]``.
    """

    point: Tensor
    cost: Tensor
    evaluations: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Optimum]) -> Self:
        """The optima of successive rows as one."""
        names = ("point", "cost", "evaluations")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


ObjectiveT = TypeVar("ObjectiveT", contravariant=True)


class Minimiser(Protocol[ObjectiveT]):
    """Minimises functions that can do what ``ObjectiveT`` says; its fields are all that it depends on."""

    def minimise(
        self, objective: ObjectiveT, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """Minimises every row; rows share nothing.

        Args:
            objective: of N rows.
            start: ``[N, ...]``.
            evaluations: int64 ``[N]``, how many each row may spend at most. What runs all rows along one
                schedule takes the smallest number for all.
            project: applied to the start and to every iterate.

        Returns:
            Each row's best point; its start, at infinite cost, if no cost was finite.
        """


def costs_and_gradients(costs: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """Costs ``[N]`` of rows that share nothing, and their gradients at ``point [N, ...]``; both detached."""
    leaf = point.detach().requires_grad_()
    with torch.enable_grad():
        cost = costs(leaf)
        # The gradient of the sum holds each row's own gradient.
        (gradient,) = torch.autograd.grad(cost.sum(), leaf)
    return cost.detach(), gradient
