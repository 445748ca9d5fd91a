"""Normalised leakage, Pareto front and hypervolume: a defense's rows set beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd

from bench.report.entries import HYPERVOLUME_LIMIT, Rank, Row, WorstCase
from bench.report.statistics import (
    NOTHING,
    Interval,
    covered_area,
    mean_ci,
    pareto_front,
    ratio_ci,
    resampled_means,
    summary_ci,
)

_SPAN = 1e-3


def normalised(own: WorstCase, floor: pd.DataFrame, ceiling: WorstCase, metric: Rank, key: str) -> Interval:
    """``(m - floor) / (ceiling - floor)`` with m = 1 - LPIPS or SSIM, on the images that all three scored.

    Args:
        own: the row's worst case.
        floor: the images of the strongest attack that never saw the row's releases.
        ceiling: the worst case of the undefended victim.
        metric: LPIPS or SSIM.
        key: see :func:`bench.report.statistics.mean_cis`.

    Returns:
        ``NOTHING`` where even the undefended victim does not certainly leak more than the floor: a ratio
        to a span that may be zero says nothing.
    """
    parts = [frame.set_index("slot")[metric] for frame in (own.best, floor, ceiling.best)]
    table = pd.concat(parts, axis=1, join="inner", keys=["own", "floor", "ceiling"]).dropna()
    # LPIPS falls as leakage rises, so numerator and denominator both change sign.
    sign = -1.0 if metric == "lpips" else 1.0
    above = sign * (table["own"] - table["floor"])
    span = sign * (table["ceiling"] - table["floor"])
    if table.empty or span.mean() <= _SPAN:
        return NOTHING
    clusters = own.best.set_index("slot")["cluster"].loc[table.index].to_numpy()
    if mean_ci(span.to_numpy(dtype=float), clusters, key).low <= 0:
        return NOTHING
    return ratio_ci(above.to_numpy(dtype=float), span.to_numpy(dtype=float), clusters, key)


def with_normalised(rows: Sequence[Row], floors: Mapping[int, pd.DataFrame], key: str) -> list[Row]:
    """Adds the normalised leakage of every row that has a floor, where there is an undefended victim."""
    ceiling = next((row.worst for row in rows if row.baseline), None)
    if ceiling is None:
        return list(rows)
    found = []
    for row in rows:
        floor = floors[row.number]
        if row.worst is not None and not floor.empty:
            lpips, ssim = (normalised(row.worst, floor, ceiling, metric, key) for metric in ("lpips", "ssim"))
            row = replace(row, normalised=lpips, normalised_ssim=ssim)
        found.append(row)
    return found


def with_pareto(rows: Sequence[Row], rank: Rank) -> list[Row]:
    """Marks the rows that no other row beats in accuracy and protection."""
    points = [
        (row.utility.mean, row.worst.protection(rank) if row.worst and row.ranked else math.nan)
        for row in rows
    ]
    front = pareto_front(np.asarray(points, dtype=float).reshape(-1, 2))
    return [replace(row, pareto=bool(on)) for row, on in zip(rows, front, strict=True)]


def areas(rows: Sequence[Row], rank: Rank, key: str) -> Mapping[str, Interval]:
    """Per defense the hypervolume of its strengths: see :func:`bench.report.statistics.covered_area`.

    The gain is LPIPS, or 1 - SSIM; the cost is the accuracy loss in points. Only images that all strengths of
    a defense scored count, and a defense with an unranked strength has none.
    """
    found = {}
    for defense, strengths in groupby(rows, key=lambda row: row.defense):
        mine = list(strengths)
        costs = np.array([row.loss.mean for row in mine])
        worst = [row.worst for row in mine if row.worst is not None and row.ranked]
        if len(worst) == len(mine) and np.isfinite(costs).all():
            found[defense] = _area(costs, worst, rank, key)
    return found


def _area(costs: np.ndarray, worst: Sequence[WorstCase], rank: Rank, key: str) -> Interval:
    columns = [item.best.set_index(["cluster", "slot"])["value"] for item in worst]
    table = pd.concat(columns, axis=1, join="inner", keys=range(len(columns))).dropna()
    if table.empty:
        return NOTHING
    gains = table.to_numpy(dtype=float) if rank == "lpips" else 1 - table.to_numpy(dtype=float)
    clusters = table.index.get_level_values("cluster").to_numpy()
    value = float(covered_area(costs, gains.mean(axis=0), HYPERVOLUME_LIMIT))
    drawn = covered_area(costs, resampled_means(gains, clusters, key), HYPERVOLUME_LIMIT)
    return summary_ci(value, drawn, len(np.unique(clusters)), len(table))
