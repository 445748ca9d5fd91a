"""The input of the network: releases of any size and scale as a few hundred numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

WHITENING = 0.5
"""0: components have the standard deviations that they have; 1: all have the same."""
LEAST = 1e-6
"""The smallest variance of a component that counts, relative to the largest."""


@dataclass(frozen=True)
class Features:
    """Principal components of the directions of releases, as the attacker's own releases span them.

    Attributes:
        entries: int64 ``[E]``, the entries of a release that are looked at.
        mean: ``[E]``, of the attacker's own.
        basis: ``[E, D]``, orthogonal.
    """

    entries: Tensor
    mean: Tensor
    basis: Tensor

    @classmethod
    def of(cls, releases: Iterable[Tensor], *, entries: int, components: int) -> tuple[Self, Tensor]:
        """Learns them, and gives those of the releases themselves.

        A layer that learns by gradients from M pairs only ever sees the M directions that they span, so that
        their principal components keep what a random projection to as many numbers would lose.

        Args:
            releases: the attacker's own, in parts ``[R, m, P]``: each of R draws.
            entries: E, those that vary most in the first part.
            components: D, at most.

        Returns:
            The features, and ``[R, M, D]``.
        """
        chosen, kept = None, []
        for part in releases:
            directions = _directions(part)
            if chosen is None:
                spread = directions.flatten(0, 1).var(0, correction=0)
                chosen = spread.topk(min(entries, len(spread))).indices.sort().values
            kept.append(directions[..., chosen])
        assert chosen is not None
        rows = torch.cat(kept, dim=1)
        mean = rows.flatten(0, 1).mean(0)
        rows = rows - mean
        basis = _components(rows.mean(0), components)
        scores = rows @ basis
        scale = scores.square().mean().sqrt().clamp_min(torch.finfo(scores.dtype).tiny)
        return cls(chosen, mean, basis / scale), scores / scale

    def __call__(self, releases: Tensor) -> Tensor:
        """Components ``[N, D]`` of releases ``[N, P]``."""
        return (_directions(releases)[:, self.entries] - self.mean) @ self.basis


def _components(rows: Tensor, number: int) -> Tensor:
    """Principal directions ``[E, D]`` of rows ``[M, E]`` without their mean, the widest first.

    Each is as long as its standard deviation to the power of -1/2: with all at length one the first few
    drown the others, on which details depend; with all components at variance one the last ones do so, which
    hold what is hardly ever sent, and noise.
    """
    energy, vectors = torch.linalg.eigh(rows @ rows.T)
    number = min(number, len(rows))
    energy, vectors = energy[-number:].flip(0), vectors[:, -number:].flip(1)
    # Of equal releases nothing is left beside rounding.
    energy = (energy / energy[0].clamp_min(torch.finfo(energy.dtype).tiny)).clamp_min(LEAST)
    unit = torch.nn.functional.normalize(rows.T @ vectors, dim=0)
    found: Tensor = unit * energy.pow(-WHITENING / 2)
    return found


def _directions(releases: Tensor) -> Tensor:
    """Releases ``[..., P]`` at unit length: those of a trained network differ by orders of magnitude."""
    rows = releases.nan_to_num(0.0, 0.0, 0.0)
    rows = rows / rows.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    found: Tensor = rows / rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return found
