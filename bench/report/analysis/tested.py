"""Whether a row says anything about its defense, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.matrix.suites import Suite
from bench.report.analysis.entries import Row
from bench.report.analysis.verdict import (
    ABOVE_FLOOR,
    LEAST_CLASSES,
    LEAST_KINDS,
    LEAST_RELEASES,
    LEAST_SEEDS,
    above_floor,
)
from bench.report.statistics import NOTHING, Interval

BELOW_FLOOR = "every attack ends below the floor"
UNCONVERGED = "the training of its victim had not converged"
UNDEFENDED_UNCONVERGED = "the training of the undefended victim had not converged"
UNDEFENDED_NEAR_CHANCE = "the accuracy of the undefended victim is near chance"
FEW_SEEDS = f"fewer than {LEAST_SEEDS} seeds"
FEW_RELEASES = f"fewer than {LEAST_RELEASES} releases"
FEW_CLASSES = f"fewer than {LEAST_CLASSES} classes x seeds"
FEW_KINDS = f"fewer than {LEAST_KINDS} classes"
NO_UNDEFENDED = "there is no undefended victim to compare with"
NO_FLOOR = "no blind guess was measured"
UNSCORED = "no attack that sees the release was scored"
NO_SUITE = "its matrix names no suite of attacks"
NOT_ABOVE = (
    "even undefended the recovered share is not certainly "
    f"{100 * ABOVE_FLOOR:g} points above that of blind guesses"
)
UNKNOWN_CLASSES = "how many classes there are is not known, so accuracy was not compared with chance"
SMALL_FLOOR = "fewer blind guesses than attacks in the suite"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the rows of a setting share.

    Attributes:
        by_class: classes are rebuilt, not images.
        suite: that the rows must have met; None if their matrix names none.
        baseline: the undefended row.
        lead: by how much its recovered share lies above that of blind guesses, on the same images.
        guesses: how many blind guesses there were.
        classes: of the data set; None if that is not known.
    """

    by_class: bool
    suite: Suite | None
    baseline: Row | None
    lead: Interval = NOTHING
    guesses: int = 0
    classes: int | None = None


def reasons(
    setting: Setting, row: Row, recovered: Interval, images: pd.DataFrame | None, missing: Sequence[str]
) -> tuple[str, ...]:
    """Why a row counts for nothing; empty where it was tested.

    Args:
        setting: where.
        row: a defense at one strength in it.
        recovered: its share.
        images: of its strongest attack, with ``seed``; None if nothing was scored.
        missing: attacks of the suite that it owes.
    """
    base = setting.baseline
    seeds = 0 if images is None else int(images["seed"].nunique())
    few = recovered.n_clusters < (LEAST_CLASSES if setting.by_class else LEAST_RELEASES)
    known = base is not None and base.recovery is not None
    found = {
        UNSCORED: row.recovery is None,
        BELOW_FLOOR: "below-prior" in row.flags,
        UNCONVERGED: "unconverged" in row.flags,
        UNDEFENDED_UNCONVERGED: base is not None and "unconverged" in base.flags,
        UNDEFENDED_NEAR_CHANCE: base is not None and _near_chance(base, setting.classes),
        FEW_SEEDS: row.recovery is not None and seeds < LEAST_SEEDS,
        FEW_CLASSES if setting.by_class else FEW_RELEASES: row.recovery is not None and few,
        FEW_KINDS: setting.by_class and setting.classes is not None and setting.classes < LEAST_KINDS,
        NO_SUITE: setting.suite is None,
        lacks(missing): bool(missing),
        NO_UNDEFENDED: not known,
        NO_FLOOR: known and not setting.guesses,
        NOT_ABOVE: known and setting.guesses > 0 and not above_floor(setting.lead),
    }
    return tuple(reason for reason, holds in found.items() if holds)


def lacks(missing: Sequence[str]) -> str:
    """Says which attacks of the suite are missing."""
    return f"missing-attack: {', '.join(missing)}"


def remarks(setting: Setting) -> tuple[str, ...]:
    """What could not be checked of the rows of a setting, or was checked with less than the rule asks for."""
    attacks = len(setting.suite.attacks) if setting.suite else 0
    found = {
        UNKNOWN_CLASSES: setting.classes is None,
        SMALL_FLOOR: 0 < setting.guesses < attacks and not setting.by_class,
    }
    return tuple(remark for remark, holds in found.items() if holds)


def _near_chance(row: Row, classes: int | None) -> bool:
    """Whether the accuracy lies below halfway from chance to 1; an unknown number is no reason."""
    return classes is not None and row.utility.mean < (1 + 1 / classes) / 2
