"""Normalised leakage, Pareto front and hypervolume: a defense's rows set beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby

import numpy as np
import pandas as pd

from bench.channels.shared.terms import SHARES, Rank, Terms, direction, protection
from bench.report.analysis.entries import HYPERVOLUME_LIMIT, Row, WorstCase
from bench.report.analysis.worst import strongest_alone
from bench.report.statistics import (
    NOTHING,
    Interval,
    covered_area,
    exact,
    mean_ci,
    pareto_front,
    ratio_ci,
    resampled_means,
    summary_ci,
)

_SPAN = 1e-3


def normalised(
    own: pd.DataFrame, floor: pd.DataFrame, ceiling: pd.DataFrame, metric: Rank, key: str
) -> Interval:
    """``(m - floor) / (ceiling - floor)`` on the images that all three scored.

    m is 1 - LPIPS, SSIM, or the share of images that the evaluator recognises.

    Args:
        own: images of a row's worst case, or of one attack.
        floor: those of the strongest attack that never saw the row's releases, or of the attack's own prior.
        ceiling: the same as ``own`` of the undefended victim.
        metric: which one.
        key: see :func:`bench.report.statistics.mean_cis`.

    Returns:
        ``NOTHING`` where even the undefended victim does not certainly leak more than the floor: a ratio
        to a span that may be zero says nothing.
    """
    values, clusters = _on_common(own, floor, ceiling, metric)
    if not len(values):
        return NOTHING
    # A distance falls as leakage rises, so numerator and denominator both change sign.
    sign = direction(metric)
    above, span = sign * (values[:, 0] - values[:, 1]), sign * (values[:, 2] - values[:, 1])
    if span.mean() <= _SPAN or mean_ci(span, clusters, key).low <= 0:
        return NOTHING
    found = ratio_ci(above, span, clusters, key)
    if metric not in SHARES or own is ceiling:
        return found
    unit = 1 / float(span.mean())
    return exact(found, found.mean - unit, found.mean + unit)


def _on_common(
    own: pd.DataFrame, floor: pd.DataFrame, ceiling: pd.DataFrame, metric: Rank
) -> tuple[np.ndarray, np.ndarray]:
    """``[images, 3]``: the metric of the images that all three scored, and the images' clusters."""
    frames = (own, floor, ceiling)
    slots = reduce(np.intersect1d, (frame["slot"].to_numpy() for frame in frames))
    orders = [np.argsort(frame["slot"].to_numpy()) for frame in frames]
    places = [
        order[np.searchsorted(frame["slot"].to_numpy(), slots, sorter=order)]
        for frame, order in zip(frames, orders, strict=True)
    ]
    values = np.column_stack(
        [frame[metric].to_numpy(dtype=float)[at] for frame, at in zip(frames, places, strict=True)]
    )
    known = np.isfinite(values).all(axis=1)
    return values[known], own["cluster"].to_numpy()[places[0]][known]


def with_normalised(
    rows: Sequence[Row], floors: Mapping[int, pd.DataFrame], words: Terms, key: str
) -> list[Row]:
    """Adds the normalised leakage of every row that has a floor, where there is an undefended victim."""
    ceiling = next((row.worst for row in rows if row.baseline), None)
    if ceiling is None:
        return list(rows)
    found = []
    for row in rows:
        floor = floors[row.number]
        if row.worst is not None and not floor.empty:
            three = row.worst.best, floor, ceiling.best
            own, *check = (normalised(*three, metric, key) for metric in words.normalised)
            row = replace(row, normalised=own, normalised_ssim=check[0] if check else NOTHING)
        found.append(row)
    return found


def attacks_normalised(
    rows: Sequence[Row], images: Mapping[int, pd.DataFrame], words: Terms, key: str
) -> list[Row]:
    """Adds to every attack that sees the release how much it leaks between its floor and its ceiling.

    The floor is the strongest attack that knows the same prior, a generator of the same kind or none, but no
    release: on the row, or on the undefended one, since what it guesses is the same. The ceiling is the same
    attack on the undefended victim: a naive one, which there is none to know better of.
    """
    base = next((row for row in rows if row.baseline), None)
    if base is None:
        return list(rows)
    metric = words.normalised[0]
    ceilings = {entry.attack: images[entry.number] for entry in base.attacks if entry.number in images}
    found = []
    for row in rows:
        priors = {entry.generator for one in (base, row) for entry in one.attacks if entry.floor}
        floors = {prior: _floor((row, base), prior, images, metric) for prior in priors}
        entries = [
            replace(entry, normalised=normalised(own, floors[entry.generator], ceiling, metric, key))
            if not entry.floor
            and (own := images.get(entry.number)) is not None
            and (ceiling := ceilings.get(entry.attack)) is not None
            and len(floors.get(entry.generator, ()))
            else entry
            for entry in row.attacks
        ]
        found.append(replace(row, attacks=tuple(entries)))
    return found


def _floor(rows: Sequence[Row], prior: str, images: Mapping[int, pd.DataFrame], metric: Rank) -> pd.DataFrame:
    """The images of the strongest floor of one prior, on the first of the rows that has one."""
    for row in rows:
        same = [entry.number for entry in row.attacks if entry.floor and entry.generator == prior]
        if known := [images[number] for number in same if number in images]:
            return strongest_alone(pd.concat(known), metric)
    return pd.DataFrame()


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

    The gain is LPIPS, 1 - SSIM, or 1 - evaluator accuracy; the cost is the accuracy loss in points. Only
    images that all strengths of a defense scored count, and a defense with an unranked strength has none.
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
    gains = protection(rank, table.to_numpy(dtype=float))
    clusters = table.index.get_level_values("cluster").to_numpy()
    value = float(covered_area(costs, gains.mean(axis=0), HYPERVOLUME_LIMIT))
    drawn = covered_area(costs, resampled_means(gains, clusters, key), HYPERVOLUME_LIMIT)
    found = summary_ci(value, drawn, len(np.unique(clusters)), len(table))
    if rank not in SHARES:
        return found
    return exact(found, 0.0, float(covered_area(costs, np.ones(len(costs)), HYPERVOLUME_LIMIT)))
