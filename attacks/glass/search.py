"""The two phases: the latents of a generator, then the pixels around what it draws.

Where copies imitate what clients do to their images, a step goes by one of them, and each in turn: a search
through one copy fits that copy's own mistakes, and one through all of them at once takes as many passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.glass.paths import Paths
from bench.engine import AMSGrad, Chunks, Optimum, WarmAdam, costs_and_gradients, total_variation
from bench.engine.minimisers.contract import BatchedObjective, Project

_AT_ONCE = 128
"""Beyond this, larger batches of images gain nothing on a CPU."""


@dataclass
class LatentCost(BatchedObjective):
    """How badly images of latents explain the activations of M images, every evaluation by the next path.

    Attributes:
        paths: of the images.
        decoder: of the generator.
        norm: weight of half the squared norm of a latent: minus the logarithm of its density.
        evaluations: so far.
    """

    paths: Paths
    decoder: nn.Module
    norm: float
    evaluations: int = 0

    def by(self, paths: Paths, points: Tensor) -> Tensor:
        """Costs ``[M]`` of latents ``[M, Z]`` by the mean over some paths, differentiable."""
        return paths.cost(self.decoder(points)) + 0.5 * self.norm * points.square().sum(1)

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        """Costs and their gradients by one path."""
        way = self.paths.turn(self.evaluations)
        self.evaluations += 1
        return costs_and_gradients(lambda leaf: self.by(way, leaf), point)

    def select(self, rows: Tensor) -> LatentCost:
        """The same for some of the images."""
        return replace(self, paths=self.paths.select(rows))


@dataclass(frozen=True, kw_only=True)
class LatentPhase:
    """Latents whose image explains the activations; the most promising of some random ones are followed.

    Attributes:
        optimiser: of those that are followed.
        candidates: random latents of each image; at most a fifth of the evaluations.
        followed: how many of them are optimised, with equal shares of what is left.
    """

    optimiser: WarmAdam
    candidates: int
    followed: int

    def sizes(self, evaluations: int) -> tuple[int, int]:
        """How many latents are drawn for each image, and how many of them are followed."""
        followed = max(1, min(self.followed, evaluations // 20))
        return max(followed, min(self.candidates, evaluations // 5)), followed

    def minimise(
        self, objective: LatentCost, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """Each image's latent of lowest cost, ``[M, Z]``.

        Args:
            objective: of M images.
            start: random latents ``[M, P, Z]``, as many as ``sizes`` says.
            evaluations: passes of each image through the client's half, at least one.
            project: as in the contract.
        """
        whole = int(evaluations.min())
        drawn, followed = self.sizes(whole)
        points = start if drawn == followed else _promising(objective, start, followed)
        spent = drawn if drawn > followed else 0
        last = objective.paths.number if followed > 1 else 0
        steps = (whole - spent) // followed - last
        parts = [
            self._follow(objective.select(rows), points[rows], steps, project)
            for rows in torch.arange(len(start), device=start.device).split(max(1, _AT_ONCE // followed))
        ]
        found = Optimum.joined(parts)
        return replace(found, evaluations=torch.full_like(evaluations, spent + (steps + last) * followed))

    def _follow(self, objective: LatentCost, points: Tensor, steps: int, project: Project | None) -> Optimum:
        """What becomes of the best of points ``[M, P, Z]``, by the mean over all paths, and its cost."""
        images, number = torch.arange(len(points), device=points.device), points.shape[1]
        several = objective.select(images.repeat_interleave(number))
        each = torch.full((len(points) * number,), steps, device=points.device)
        found = self.optimiser.minimise(several, points.flatten(0, 1), evaluations=each, project=project)
        if number == 1:
            return found
        with torch.no_grad():
            cost = several.by(several.paths, found.point).view(points.shape[:2])
        best = cost.nan_to_num(torch.inf).argmin(1)
        return Optimum(found.point.view_as(points)[images, best], cost[images, best], each[::number])


@torch.no_grad()
def _promising(objective: LatentCost, points: Tensor, keep: int) -> Tensor:
    """The cheapest of each image's candidates ``[M, P, Z]`` by one path, ``[M, keep, Z]``."""
    way = objective.paths.turn(0)
    every = torch.stack([objective.by(way, points[:, at]) for at in range(points.shape[1])], dim=1)
    cheapest = every.nan_to_num(torch.inf).topk(keep, dim=1, largest=False).indices
    return points.gather(1, cheapest[..., None].expand(-1, -1, points.shape[2]))


@dataclass(frozen=True, kw_only=True)
class PixelCost(BatchedObjective):
    """How badly M images ``[M, C, H, W]`` near what the generator draws explain the activations.

    Attributes:
        paths: of the images, without copies of clients: each evaluation takes one pass.
        drawn: by the generator, ``[M, C, H, W]``.
        tv: weight of an image's total variation, to the end.
        tv_start: a weight that falls to zero with the square of the step.
        pull: weight of half the squared distance from ``drawn``.
    """

    paths: Paths
    drawn: Tensor
    tv: float
    tv_start: float
    pull: float

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        """Costs and their gradients."""
        fading = self.tv_start * share**2

        def costs(leaf: Tensor) -> Tensor:
            far = (leaf - self.drawn).square().flatten(1).sum(1)
            rough = total_variation(leaf[:, None])
            return self.paths.cost(leaf) + (self.tv + fading) * rough + 0.5 * self.pull * far

        cost, gradient = costs_and_gradients(costs, point)
        # Costs are compared over time: without what vanishes.
        return cost - fading * total_variation(point[:, None]), gradient

    def select(self, rows: Tensor) -> PixelCost:
        """The same for some of the images."""
        return replace(self, paths=self.paths.select(rows), drawn=self.drawn[rows])

    def minimise(self, learning_rate: float, steps: int) -> Optimum:
        """Images in [0, 1], each its own best, from what the generator draws."""
        search: Chunks[PixelCost] = Chunks(minimiser=AMSGrad(learning_rate=learning_rate), size=_AT_ONCE)
        each = torch.full(self.drawn.shape[:1], steps, device=self.drawn.device)
        return search.minimise(self, self.drawn, evaluations=each, project=lambda images: images.clamp(0, 1))
