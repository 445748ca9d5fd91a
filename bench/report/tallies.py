"""Small counts and ranges that the entries of the leaderboard are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and the range of the seeds.

    Attributes:
        mean: NaN if no seed has a value.
        low: the smallest seed.
        high: the largest seed.
        seeds: how many.
        upper: upper limit of the mean by Student's t over the seeds; NaN with fewer than two.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    upper: float = math.nan

    def scaled(self, factor: float) -> Spread:
        """The same in another unit, which is positive."""
        mean, low, high = factor * self.mean, factor * self.low, factor * self.high
        return Spread(mean, low, high, self.seeds, factor * self.upper)


@dataclass(frozen=True)
class Failure:
    """Cells that gave no reconstruction for the same reason."""

    status: str
    reason: str
    cells: int


@dataclass(frozen=True)
class Coverage:
    """How much of what should have been measured was measured.

    Attributes:
        done: cells with a result.
        wanted: cells that the group's attacks and seeds ask for, without those that cannot be.
        incompatible: cells that cannot be, with a reason.
    """

    done: int = 0
    wanted: int = 0
    incompatible: int = 0

    @property
    def text(self) -> str:
        """``21/21``, and what is n/a."""
        return f"{self.done}/{self.wanted}" + (f" (+{self.incompatible} n/a)" if self.incompatible else "")
