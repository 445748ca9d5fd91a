"""Several seeds of one release, each drawn to what all of them agree on, by Adam with Langevin noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from bench.engine import Objective, Optimum, WarmAdam
from bench.engine.minimisers.contract import Project

OTHER = 500_009
"""Between the random streams of the starts and those of the noise."""
SHIFT = 8
"""The largest shift that registration undoes is one part of so many of an image's side."""


@dataclass(frozen=True, kw_only=True)
class LangevinAdam(WarmAdam):
    """Adam whose every step ends in noise: ``x <- x - rate (m / sqrt v + alpha_n eta)``, eta ~ N(0, 1).

    Attributes:
        noise: alpha_n.
        streams: of the rows.
    """

    # A pixel whose gradients cancel, as where total variation is flat, has nothing left but rounding: with a
    # smaller epsilon that would be a step of full length, in another direction on another machine.
    epsilon: ClassVar[float] = 1e-6
    noise: float
    streams: list[torch.Generator] = field(default_factory=list)

    def _step(self, rate: float, first: Tensor, weight: float, spread: Tensor) -> Tensor:
        step = super()._step(rate, first, weight, spread)
        if not self.noise:
            return step
        drawn = torch.stack([torch.randn(first.shape[1], generator=own) for own in self.streams])
        return step + rate * self.noise * drawn.to(step)


@dataclass(frozen=True)
class Drawn:
    """The objective of G seeds of each victim; the distance from their consensus guides the steps alone.

    ``R_group(x_g) = alpha_group ||x_g - E||`` for every image, where E is the mean of the registered seeds.

    Attributes:
        parts: the objective of some rows each, a victim's seeds one after the other.
        shape: (G, B, C, H, W).
        weight: alpha_group.
        together: bool ``[N, B]``, which images stand for the same one in all seeds.
    """

    parts: list[Objective]
    shape: tuple[int, ...]
    weight: float
    together: Tensor

    def __call__(self, point: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Costs ``[N * G]`` without that distance, and gradients with it."""
        sizes = [len(part.ids) for part in self.parts]
        found = [part(some, share) for part, some in zip(self.parts, point.split(sizes), strict=True)]
        cost, gradient = (torch.cat(values) for values in zip(*found, strict=True))
        if self.shape[0] == 1 or not self.weight:
            return cost, gradient
        images = point.view(-1, *self.shape)
        gap = images - consensus(images)
        length = gap.flatten(3).norm(dim=3).clamp_min(torch.finfo(gap.dtype).tiny)
        pull = gap * (self.together.unsqueeze(1) / length)[..., None, None, None]
        return cost, gradient + self.weight * pull.flatten(0, 1).flatten(1)


def consensus(images: Tensor) -> Tensor:
    """The mean over the seeds of ``[N, G, B, C, H, W]``, each registered to their pixel-wise mean."""
    return registered(images, images.mean(dim=1, keepdim=True)).mean(dim=1, keepdim=True)


def registered(images: Tensor, target: Tensor) -> Tensor:
    """Images ``[..., C, H, W]``, each moved by whole pixels, round the edges, to where it fits a target best.

    What fits is the product summed over channels and pixels, for all shifts at once by Fourier transforms.
    """
    height, width = images.shape[-2:]
    spectra = torch.fft.rfft2(images).conj() * torch.fft.rfft2(target)
    fit = torch.fft.irfft2(spectra.sum(dim=-3), s=(height, width))
    rows, columns = (torch.arange(side, device=fit.device) for side in (height, width))
    near = [
        torch.minimum(steps, side - steps) <= side // SHIFT
        for steps, side in ((rows, height), (columns, width))
    ]
    best = fit.masked_fill(~(near[0][:, None] & near[1]), -torch.inf).flatten(-2).argmax(-1)
    down = (rows - (best // width)[..., None]) % height
    right = (columns - (best % width)[..., None]) % width
    moved = images.gather(-2, down[..., None, :, None].expand(images.shape))
    return moved.gather(-1, right[..., None, None, :].expand(images.shape))


@dataclass(frozen=True, kw_only=True)
class Group:
    """G seeds of every victim side by side, with equal shares of its evaluations; the cheapest is kept.

    Attributes:
        adam: the schedule of every seed.
        seeds: G; fewer where each had less than ten evaluations.
        weight: alpha_group.
        seed: with the victim's number and that of its seed, the only source of randomness.
        rows: seeds in one graph.
    """

    adam: LangevinAdam
    seeds: int
    weight: float
    seed: int
    rows: int

    def minimise(
        self, objective: Objective, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        """See :class:`~bench.engine.minimisers.contract.Minimiser`; a start is the first seed's."""
        seen, unknowns, least = objective.observation, objective.parametrisation, int(evaluations.min())
        count = max(1, min(self.seeds, least // 10))
        rows = torch.arange(len(start), device=start.device)
        more = [unknowns.start(seen.ids, seed=self.seed + g, like=start) for g in range(1, count)]
        several = objective.select(rows.repeat_interleave(count))
        of_each = torch.arange(len(several.ids), device=start.device).split(self.rows)
        with torch.no_grad():
            labels = unknowns.decode(start)[1].argmax(-1)
        drawn = Drawn(
            [several.select(some) for some in of_each],
            (count, seen.batch_size, *seen.image_shape),
            self.weight,
            (labels.unsqueeze(2) == labels.unsqueeze(1)).sum(2) == 1,
        )
        streams = [self._stream(victim, g) for victim in seen.ids.tolist() for g in range(count)]
        adam = LangevinAdam(**{**vars(self.adam), "streams": streams})
        found = adam.minimise(
            drawn,
            torch.stack([start, *more], dim=1).flatten(0, 1),
            evaluations=(evaluations // count).repeat_interleave(count),
            project=project,
        )
        cost = found.cost.view(-1, count)
        place = cost.argmin(dim=1)
        spent = found.evaluations.view(-1, count).sum(1)
        return Optimum(found.point.unflatten(0, cost.shape)[rows, place], cost[rows, place], spent)

    def _stream(self, victim: int, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(((self.seed + number) * 1_000_003 + victim + OTHER) % 2**32)
