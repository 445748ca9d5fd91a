"""Accuracy of the victims, and what their defense cost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.report.cards import Cards
from bench.report.frames import ROW
from bench.report.statistics import student
from bench.report.statistics.bootstrap import Floats
from bench.report.tallies import Spread

VICTIM = ["channel", "dataset", "model", "batch_size"]


def spread(values: pd.Series[float]) -> Spread:
    """Mean, range over seeds and upper limit."""
    known: Floats = np.asarray(values.dropna(), dtype=np.float64)
    if not len(known):
        return Spread()
    upper = student(known)[1]
    return Spread(float(known.mean()), float(known.min()), float(known.max()), len(known), upper)


def resolution(accuracies: pd.Series[float]) -> float:
    """What a second undefended victim would lose, in points: no smaller loss can be told from none.

    The upper limit of the paired loss of a second training that costs nothing, from how the accuracies of the
    undefended victims differ between the seeds: such a loss has twice their variance.

    Args:
        accuracies: of the undefended victims, fractions, one for each seed.

    Returns:
        NaN with fewer than two seeds.
    """
    known: Floats = np.asarray(accuracies.dropna(), dtype=np.float64)
    if len(known) < 2:
        return math.nan
    return 100 * math.sqrt(2) * (student(known)[1] - float(known.mean()))


def victims(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per victim, from whatever records tell its accuracy: ``accuracy`` and ``converged``."""
    known = cells.dropna(subset=["accuracy"])
    grouped = known.groupby([*VICTIM, *ROW, "seed"], dropna=False)
    return grouped.agg(accuracy=("accuracy", "mean"), converged=("converged", "min")).reset_index()


def baseline_rows(cells: pd.DataFrame, cards: Cards) -> set[int]:
    """Numbers of the rows of undefended victims.

    Undefended is the one defense that has no strength and, by its card, nothing to adapt to. Where the cards
    leave more than one candidate, there is no baseline.
    """
    unswept = cells[cells["strength"].isna()]
    adaptable = {name: cards.adaptable(name) for name in unswept["defense_name"].unique()}
    candidates = unswept[~unswept["defense_name"].map(adaptable).eq(True)]
    found: set[int] = set()
    for _, group in candidates.groupby([*VICTIM, "checkpoint"]):
        rows = set(group["row"])
        found |= rows if len(rows) == 1 else set()
    return found


def accuracy_loss(own: pd.DataFrame, undefended: pd.DataFrame) -> Spread:
    """Points of accuracy lost, seed by seed; the upper limit ends at all that can be lost, 100 points."""
    both = own.merge(undefended, on="seed", suffixes=("", "_undefended"))
    loss = 100 * (both["accuracy_undefended"] - both["accuracy"])
    found = spread(loss.where(np.abs(loss) > 1e-9, 0.0))
    return replace(found, upper=min(found.upper, 100.0))
