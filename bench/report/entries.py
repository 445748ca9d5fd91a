"""The leaderboard as plain data: groups of defense rows, each with its attacks and its worst case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from bench.report.frames import METRICS
from bench.report.statistics import NOTHING, Interval

Rank = Literal["lpips", "ssim"]
SCORES = [*METRICS, "success"]
"""Metrics of the tables; ``success`` is the share of images with PSNR above 30 dB (MSE < 1e-3)."""
LIMITS = (1.0, 5.0)
"""Points of accuracy that a defense may cost in the summaries."""
SUCCESS_PSNR = 30.0
NO_SCORES: Mapping[str, Interval] = dict.fromkeys(SCORES, NOTHING)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and the range of the seeds.

    Attributes:
        mean: NaN if no seed has a value.
        low: the smallest seed.
        high: the largest seed.
        seeds: how many.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class Failure:
    """Cells that gave no reconstruction for the same reason."""

    status: str
    reason: str
    cells: int


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """One attack and adversary against one defense at one strength, over all seeds.

    Attributes:
        attack: label.
        adversary: ``naive`` or ``adaptive``.
        floor: the attack ignores the release.
        cells: how many cells were recorded.
        done: how many of them are done.
        failures: the others, by status and reason.
        scores: per metric, over all images of the done cells.
        evaluations: median over the done cells of the mean evaluations per release.
        flags: codes of :mod:`bench.report.flags`.
    """

    attack: str
    adversary: str
    floor: bool
    cells: int
    done: int
    failures: tuple[Failure, ...]
    scores: Mapping[str, Interval]
    evaluations: float
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Attack and adversary."""
        return f"{self.attack}/{self.adversary}"


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The best reconstruction of every image over all attacks that see the release.

    Attributes:
        scores: per metric, of the chosen reconstructions.
        attack: label of the attack that is strongest on its own.
        adversary: its adversary.
        attacks: how many attacks (with adversaries) the choice was between.
        best: per image the ranking metric of the chosen reconstruction; ``seed``, ``release``,
            ``image`` and ``value``.
    """

    scores: Mapping[str, Interval]
    attack: str
    adversary: str
    attacks: int
    best: pd.DataFrame = field(repr=False, compare=False)

    @property
    def strongest(self) -> str:
        """Attack and adversary of the single strongest attack."""
        return f"{self.attack}/{self.adversary}"

    def protection(self, rank: Rank) -> float:
        """How little leaks at worst: larger is better for the defender."""
        mean = self.scores[rank].mean
        return mean if rank == "lpips" else -mean


@dataclass(frozen=True, kw_only=True)
class Row:
    """One defense at one strength.

    Attributes:
        defense: label.
        strength: NaN for a defense without.
        baseline: this is the undefended victim.
        utility: accuracy of the victims, a fraction.
        loss: accuracy lost against the undefended victims of the same seeds, in points.
        worst: None if no image was scored by all done attacks.
        attacks: entries, floors last.
        normalised: normalised leakage; NaN where floor or ceiling is missing.
        pareto: no other row has both more accuracy and less leakage.
        flags: codes of :mod:`bench.report.flags`.
    """

    defense: str
    strength: float
    baseline: bool
    utility: Spread
    loss: Spread
    worst: WorstCase | None
    attacks: tuple[AttackEntry, ...]
    normalised: float = math.nan
    pareto: bool = False
    flags: tuple[str, ...] = ()

    @property
    def ranked(self) -> bool:
        """False where the worst case lacks an attack that others had to stand."""
        return "missing-attack" not in self.flags


@dataclass(frozen=True, kw_only=True)
class Place:
    """One defense at its best strength within a limit of accuracy loss.

    Attributes:
        row: the defense at that strength.
        worst: its worst case.
        first: the best place that the paired intervals allow it.
        last: the worst place.
    """

    row: Row
    worst: WorstCase
    first: int
    last: int

    @property
    def rank(self) -> str:
        """``1``, or a tie group such as ``1–3``."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """All defenses that may be compared: one channel, data set, model, checkpoint and batch size.

    Attributes:
        rank: the metric that decides which reconstruction is best: LPIPS, or SSIM where there is no LPIPS.
        rows: sorted: without strength first, then by label and strength.
        places: per limit of accuracy loss, the defenses at their best strength, the least leak first.
    """

    channel: str
    dataset: str
    model: str
    checkpoint: str
    batch_size: int
    rank: Rank
    rows: tuple[Row, ...]
    places: Mapping[float, tuple[Place, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the group's bootstrap resamples."""
        return "|".join([self.channel, self.dataset, self.model, self.checkpoint, str(self.batch_size)])

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.channel} · {self.dataset} · {self.model} · {self.checkpoint} · B = {self.batch_size}"

    @property
    def baseline(self) -> Row | None:
        """The undefended row, if there is one."""
        return next((row for row in self.rows if row.baseline), None)
