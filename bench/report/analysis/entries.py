"""The leaderboard as plain data: groups of defense rows, each with its attacks and its worst case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from bench.channels import terms
from bench.channels.shared.terms import METRICS, Rank, Terms, direction
from bench.report.analysis.recovery import Recovery
from bench.report.analysis.verdict import NO_VERDICT, Verdict
from bench.report.badges import Badge, least
from bench.report.statistics import NOTHING, Interval
from bench.report.statistics import Place as Standing
from bench.report.tallies import Coverage, Failure, Spread
from bench.report.visible import smallest_visible

SCORES = [*METRICS, "success"]
"""Metrics of the tables; ``success`` is the share of images with PSNR above 30 dB (MSE < 1e-3)."""
LIMITS = (1.0, 5.0)
"""Points of accuracy that a defense may cost in the summaries."""
HYPERVOLUME_LIMIT = 10.0
"""Points of accuracy loss at the hypervolume's reference point; the other coordinate is no protection, 0."""
SUCCESS_PSNR = 30.0
NO_SCORES: Mapping[str, Interval] = dict.fromkeys(SCORES, NOTHING)


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """One attack and adversary against one defense at one strength, over all seeds.

    Attributes:
        number: of the entry in the table of cells.
        attack: label.
        adversary: ``naive`` or ``adaptive``.
        floor: the attack ignores the release.
        cells: how many cells were recorded.
        done: how many of them are done.
        failures: the others, by status and reason.
        scores: per metric, over all images of the done cells.
        evaluations: median over the done cells of the mean evaluations per release.
        generator: kind of the generator that it searched; empty if none.
        shares: records' ``single_share`` and ``honest_share``, medians over the done cells; NaN without.
        normalised: normalised leakage: 0 is its own floor, 1 the same attack on the undefended victim; NaN
            where either is missing or does not tell them apart.
        flags: codes of :mod:`bench.report.analysis.flags`.
        badge: how far its numbers were verified.
    """

    number: int
    attack: str
    adversary: str
    floor: bool
    cells: int
    done: int
    failures: tuple[Failure, ...]
    scores: Mapping[str, Interval]
    evaluations: float
    generator: str = ""
    shares: tuple[float, float] = (math.nan, math.nan)
    normalised: Interval = NOTHING
    flags: tuple[str, ...] = ()
    badge: Badge = "reported"

    @property
    def name(self) -> str:
        """Attack and adversary."""
        return f"{self.attack}/{self.adversary}"


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The best reconstruction of every image over all attacks that see the release.

    Attributes:
        scores: per metric, of the chosen reconstructions.
        attacks: how many attacks (with adversaries) the choice was between.
        best: the chosen reconstructions: ``seed``, ``release``, ``image``, ``slot`` and ``cluster`` of each
            private image, ``lpips``, ``ssim``, ``recognised``, and as ``value`` the ranking metric.
    """

    scores: Mapping[str, Interval]
    attacks: int
    best: pd.DataFrame = field(repr=False, compare=False)

    def protection(self, rank: Rank) -> float:
        """How little leaks at worst: larger is better for the defender."""
        return -direction(rank) * self.scores[rank].mean


@dataclass(frozen=True, kw_only=True)
class Row:
    """One defense at one strength.

    Attributes:
        number: of the row in the table of cells.
        defense: label.
        strength: NaN for a defense without.
        baseline: this is the undefended victim.
        utility: accuracy of the victims, a fraction.
        loss: accuracy lost against the undefended victims of the same seeds, in points.
        worst: None if no image was scored by all done attacks.
        naive: the same over those attacks alone that ignore the defense.
        recovery: what the strongest single attack recovered; None if nothing was scored.
        verdict: the word for the row, and what it stands on.
        attacks: entries, floors last.
        normalised: normalised leakage by LPIPS, on channel ``model`` by evaluator accuracy: 0 is the floor,
            1 the undefended victim; NaN where either is missing or the floor is not below the ceiling.
        normalised_ssim: the same by SSIM; not on channel ``model``.
        pareto: no other row has both more accuracy and less leakage.
        flags: codes of :mod:`bench.report.analysis.flags`.
        coverage: cells done and wanted, with the floors that were tried on this row.
    """

    number: int
    defense: str
    strength: float
    baseline: bool
    utility: Spread
    loss: Spread
    worst: WorstCase | None
    attacks: tuple[AttackEntry, ...]
    naive: WorstCase | None = None
    recovery: Recovery | None = field(default=None, repr=False)
    verdict: Verdict = NO_VERDICT
    normalised: Interval = NOTHING
    normalised_ssim: Interval = NOTHING
    pareto: bool = False
    flags: tuple[str, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def name(self) -> str:
        """Defense and strength."""
        return self.defense if math.isnan(self.strength) else f"{self.defense} = {self.strength:g}"

    @property
    def badge(self) -> Badge:
        """That of its least verified attack."""
        return least(entry.badge for entry in self.attacks if entry.done)

    @property
    def strongest(self) -> AttackEntry | None:
        """The single attack that recovers most."""
        number = -1 if self.recovery is None else self.recovery.entry
        return next((entry for entry in self.attacks if entry.number == number), None)

    @property
    def headline(self) -> tuple[str, ...]:
        """Flags of the row and of its strongest attack, which decides its number."""
        return tuple(dict.fromkeys([*self.flags, *(self.strongest.flags if self.strongest else ())]))

    @property
    def ranked(self) -> bool:
        """False where the worst case lacks an attack that it owes, or that others had to stand."""
        return "missing-attack" not in self.flags


@dataclass(frozen=True, kw_only=True)
class Place:
    """One defense at its best strength within a limit of accuracy loss.

    Attributes:
        row: the defense at that strength.
        recovery: what its strongest attack recovered.
        standing: its rank as an interval, and its tie groups.
    """

    row: Row
    recovery: Recovery
    standing: Standing


@dataclass(frozen=True, kw_only=True)
class AttackPlace:
    """One attack over all defenses that every attack of the group was tried on.

    Attributes:
        name: attack and adversary.
        floor: it never sees the release.
        leak: mean of the ranking metric over images and defenses.
        blocks: how many defense rows are complete.
        standing: its rank as an interval, and its tie groups.
    """

    name: str
    floor: bool
    leak: Interval
    blocks: int
    standing: Standing


def title(channel: str, dataset: str, model: str, checkpoint: str, batch_size: int) -> str:
    """A setting in one line."""
    return f"{channel} · {dataset} · {model} · {checkpoint} · B = {batch_size}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """All defenses that may be compared: one channel, data set, model, checkpoint and batch size.

    Attributes:
        rank: the metric that decides which reconstruction is best: LPIPS, SSIM, or evaluator's accuracy.
        rows: sorted: without strength first, then by label and strength.
        places: per limit of accuracy loss, defenses at their best strength, the least leak first.
        attacks: by their mean leakage on complete blocks, the strongest first.
        areas: per defense the hypervolume over its strengths, in units of the ranking metric.
        suite: name and version of the attacks that the verdicts stand on; empty if the matrix names none.
        attacked: how many attacks of the suite saw the undefended victim's releases.
        resolution: points of accuracy that cannot be told from no loss; NaN with fewer than two seeds.
        fair_floor: mean ranking metric of the best of as many blind guesses as attacks; NaN without any.
        lead: by how much the undefended recovered share lies above that of blind guesses.
        confirmable: the matrix asks for the defenses named on top to be measured on fresh seeds.
        confirmations: by number of a row, the same row on fresh seeds and its group there.
        lpips_side: pixels to which images were enlarged for LPIPS; 0 if they were not.
        unmeasured: metrics that no cell has.
    """

    channel: str
    dataset: str
    model: str
    checkpoint: str
    batch_size: int
    rank: Rank
    rows: tuple[Row, ...]
    places: Mapping[float, tuple[Place, ...]] = field(default_factory=dict)
    attacks: tuple[AttackPlace, ...] = ()
    areas: Mapping[str, Interval] = field(default_factory=dict)
    suite: str = ""
    attacked: int = 0
    resolution: float = math.nan
    fair_floor: float = math.nan
    lead: Interval = NOTHING
    confirmable: bool = False
    confirmations: Mapping[int, tuple[Group, Row]] = field(default_factory=dict)
    lpips_side: int = 0
    unmeasured: frozenset[str] = frozenset()

    def bound(self, limit: float) -> float:
        """Points that a defense may cost to be admitted: a limit, or what this setting can resolve."""
        return max(limit, 0.0 if math.isnan(self.resolution) else self.resolution)

    def admitted(self, row: Row, limit: float) -> bool:
        """Whether a defense costs no more than a limit: the upper limit of its loss, of one seed the loss."""
        cost = row.loss.upper if row.loss.seeds > 1 else row.loss.mean
        return cost <= self.bound(limit) + 1e-9

    @property
    def headline(self) -> str:
        """What the worst case of this setting is taken over."""
        count = "one attack" if self.attacked == 1 else f"{self.attacked} attacks"
        return f"worst of the {count} of {self.suite}" if self.suite else "worst of its attacks"

    @property
    def key(self) -> str:
        """Names the group's bootstrap resamples."""
        return "|".join([self.channel, self.dataset, self.model, self.checkpoint, str(self.batch_size)])

    @property
    def setting(self) -> tuple[str, str, str, str, int]:
        """What the rows have in common."""
        return self.channel, self.dataset, self.model, self.checkpoint, self.batch_size

    @property
    def title(self) -> str:
        """One line."""
        return title(self.channel, self.dataset, self.model, self.checkpoint, self.batch_size)

    @property
    def terms(self) -> Terms:
        """The channel's metrics and words."""
        return terms(self.channel, self.lpips_side).without(self.unmeasured)

    @property
    def baseline(self) -> Row | None:
        """The undefended row, if there is one."""
        return next((row for row in self.rows if row.baseline), None)

    @property
    def smallest_visible(self) -> float:
        """The smallest difference in the ranking metric that is not negligible.

        NaN where there is no scale: the undefended victim does not certainly leak more than a floor.
        """
        base = self.baseline
        if base is None or base.worst is None:
            return math.nan
        above = base.normalised_ssim if self.rank == "ssim" else base.normalised
        if math.isnan(above.mean):
            return math.nan
        return smallest_visible(base.worst.scores[self.rank].mean, self.fair_floor)

    @property
    def nobody(self) -> str:
        """Why no defense has a place."""
        tried = any(not row.baseline for row in self.rows)
        return "none is certainly that cheap" if tried else "none was tried"
