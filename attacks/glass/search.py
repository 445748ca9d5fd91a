"""The two phases: the latents of a generator, then the pixels around what it draws.

Where copies imitate what clients do to their images, a step goes by one of them, and each in turn: a search
through one copy fits that copy's own mistakes, and one through all of them at once takes as many passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.api import ImageGenerator
from bench.attacks.glass.paths import Paths
from bench.engine.generative import WarmAdam
from bench.engine.minimisers.adam import AMSGrad
from bench.engine.minimisers.optimum import Optimum
from bench.engine.priors import total_variation

_AT_ONCE = 128
"""Beyond this, larger batches of images gain nothing on a CPU."""
Costs = Callable[[Tensor], Tensor]
"""``points [M, ...] -> [M]``, differentiable."""


def _gradient(costs: Costs, points: Tensor) -> tuple[Tensor, Tensor]:
    """Costs ``[M]`` and their gradients at points ``[M, ...]`` that share nothing."""
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        here = costs(leaf)
        (gradient,) = torch.autograd.grad(here.sum(), leaf)
    return here.detach(), gradient


def _rows(points: Tensor, at_once: int = _AT_ONCE) -> tuple[Tensor, ...]:
    rows: tuple[Tensor, ...] = torch.arange(len(points), device=points.device).split(max(1, at_once))
    return rows


@dataclass
class _Turning:
    """Costs and gradients of M points, every step by the next path."""

    paths: Paths
    costs: Callable[[Paths], Costs]
    step: int = 0

    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor]:
        self.step += 1
        return _gradient(self.costs(self.paths.turn(self.step - 1)), point)

    def select(self, victims: Tensor) -> _Turning:
        """The same for some of the points."""
        return replace(self, paths=self.paths.select(victims))


@dataclass(frozen=True, kw_only=True)
class LatentPhase:
    """Latents whose image explains the activations; the most promising of some random ones are followed.

    Attributes:
        optimiser: of those that are followed.
        candidates: random latents of each image; at most a fifth of the evaluations.
        followed: how many of them are optimised, with equal shares of what is left.
        norm: weight of half the squared norm of a latent: minus the logarithm of its density.
    """

    optimiser: WarmAdam
    candidates: int
    followed: int
    norm: float

    def minimise(
        self, paths: Paths, prior: ImageGenerator, drawn: Callable[[int], Tensor], *, evaluations: int
    ) -> Optimum:
        """Each image's latent of lowest cost, ``[M, Z]``.

        Args:
            paths: of M images.
            prior: the generator.
            drawn: number of candidates -> random latents ``[M, number, Z]``.
            evaluations: passes of each image through the client's half, at least one.
        """
        followed = max(1, min(self.followed, evaluations // 20))
        candidates = max(followed, min(self.candidates, evaluations // 5))
        points = drawn(candidates)
        spent = candidates if candidates > followed else 0
        if spent:
            points = self._promising(paths, prior, points, followed)
        last = paths.number if followed > 1 else 0
        steps = (evaluations - spent) // followed - last
        parts = [
            self._follow(paths.select(rows), prior, points[rows], steps)
            for rows in _rows(points, _AT_ONCE // followed)
        ]
        spent += (steps + last) * followed
        point, cost = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        return Optimum(point, cost, torch.full_like(cost, spent, dtype=torch.long))

    def _costs(self, paths: Paths, prior: ImageGenerator) -> Costs:
        def costs(points: Tensor) -> Tensor:
            mismatch = paths.cost(prior.decoder(points))
            return mismatch + 0.5 * self.norm * points.square().sum(1)

        return costs

    @torch.no_grad()
    def _promising(self, paths: Paths, prior: ImageGenerator, points: Tensor, keep: int) -> Tensor:
        """The cheapest of each image's candidates ``[M, P, Z]`` by one path, ``[M, keep, Z]``."""
        costs = self._costs(paths.turn(0), prior)
        every = torch.stack([costs(points[:, at]) for at in range(points.shape[1])], dim=1)
        cheapest = every.nan_to_num(torch.inf).topk(keep, dim=1, largest=False).indices
        return points.gather(1, cheapest[..., None].expand(-1, -1, points.shape[2]))

    def _follow(
        self, paths: Paths, prior: ImageGenerator, points: Tensor, steps: int
    ) -> tuple[Tensor, Tensor]:
        """What becomes of the best of points ``[M, P, Z]``, by the mean over all paths, and its cost."""
        images = torch.arange(len(points), device=points.device)
        several = paths.select(images.repeat_interleave(points.shape[1]))
        objective = _Turning(several, lambda way: self._costs(way, prior))
        found = self.optimiser.minimise(objective, points.flatten(0, 1), iterations=steps)
        if points.shape[1] == 1:
            return found.point, found.cost
        with torch.no_grad():
            cost = self._costs(several, prior)(found.point).view(points.shape[:2])
        best = cost.nan_to_num(torch.inf).argmin(1)
        return found.point.view_as(points)[images, best], cost[images, best]


@dataclass(frozen=True, kw_only=True)
class PixelPhase:
    """Images near what the generator draws that explain the activations better.

    Attributes:
        optimiser: of the pixels.
        tv: weight of an image's total variation, to the end.
        tv_start: a weight that falls to zero with the square of the step.
        pull: weight of half the squared distance from what the generator draws.
    """

    optimiser: AMSGrad
    tv: float
    tv_start: float
    pull: float

    def minimise(self, paths: Paths, drawn: Tensor, *, iterations: int) -> Optimum:
        """Images ``[M, C, H, W]`` in [0, 1], each its own best.

        Args:
            paths: of M images, without copies of clients: each step takes one pass.
            drawn: where they start, ``[M, C, H, W]``.
            iterations: steps of each image, one pass through the client's half each.
        """
        parts = [self._part(paths.select(rows), drawn[rows], iterations) for rows in _rows(drawn)]
        return Optimum(
            torch.cat([part.point for part in parts]),
            torch.cat([part.cost for part in parts]),
            torch.cat([part.evaluations for part in parts]),
        )

    def _part(self, paths: Paths, drawn: Tensor, iterations: int) -> Optimum:
        def objective(images: Tensor, share: float) -> tuple[Tensor, Tensor]:
            fading = self.tv_start * share**2

            def costs(leaf: Tensor) -> Tensor:
                far = (leaf - drawn).square().flatten(1).sum(1)
                rough = total_variation(leaf[:, None])
                return paths.cost(leaf) + (self.tv + fading) * rough + 0.5 * self.pull * far

            cost, gradient = _gradient(costs, images)
            # Costs are compared over time: without what vanishes.
            return cost - fading * total_variation(images[:, None]), gradient

        return self.optimiser.minimise(
            objective, drawn, iterations=iterations, project=lambda images: images.clamp(0, 1)
        )
