"""Where a claim is measured in these results, and what came out.

A share of images has the interval of :func:`bench.report.statistics.share_interval`, as in the verdicts; a
mean of decibels or of a distance that of the tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.api.cards import Kind
from bench.channels.shared.terms import SHARES, direction
from bench.report.analysis.entries import SUCCESS_PSNR, AttackEntry, Group, Row
from bench.report.claims.file import Check
from bench.report.statistics import NOTHING, Interval, share_interval

Floats = NDArray[np.float64]
Images = Mapping[int, pd.DataFrame]
"""The images of each attack entry, by its number."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One number that measures a claim.

    Attributes:
        where: the attack, the row and the setting.
        value: with its interval.
        seeds: the share in each seed; empty where the metric is no share.
        undefended: what the same attack, or the strongest one, reaches without the defense.
        nearest: what stands before a metric that is taken against the nearest private image.
    """

    where: str
    value: Interval
    seeds: tuple[float, ...] = ()
    undefended: Interval = NOTHING
    nearest: str = ""


def find(kind: Kind, name: str, check: Check, groups: Sequence[Group], images: Images) -> list[Found]:
    """Every number of these results that a check asks for.

    Args:
        kind: of the plug-in.
        name: of the plug-in.
        check: of one of its claims.
        groups: the leaderboard.
        images: see :data:`Images`.
    """
    measure = _attack if kind == "attack" else _defense
    return [item for group in groups if _asked(check, group) for item in measure(name, check, group, images)]


def _asked(check: Check, group: Group) -> bool:
    channel = not check.channel or group.channel == check.channel
    model = not check.model or group.model == check.model
    checkpoint = not check.checkpoint or group.checkpoint == check.checkpoint
    return channel and model and checkpoint and check.batch_size in (None, group.batch_size)


def _attack(name: str, check: Check, group: Group, images: Images) -> Iterator[Found]:
    """The attack on the undefended victim."""
    if group.baseline is not None:
        yield from _alone(name, check, group, group.baseline, images)


def _defense(name: str, check: Check, group: Group, images: Images) -> Iterator[Found]:
    low = -math.inf if check.strength_at_least is None else check.strength_at_least
    high = math.inf if check.strength_at_most is None else check.strength_at_most
    for row in group.rows:
        if row.defense.split("[")[0] == name and low <= row.strength <= high:
            measure = _alone if check.attack else _strongest
            yield from measure(check.attack, check, group, row, images)


def _alone(name: str, check: Check, group: Group, row: Row, images: Images) -> Iterator[Found]:
    """One attack on one row."""
    adversary = check.adversary or "naive"
    entry = next((e for e in row.attacks if (e.attack, e.adversary) == (name, adversary) and e.done), None)
    if entry is not None:
        plain = () if group.baseline is None else group.baseline.attacks
        same = next((other for other in plain if other.attack == name and other.done), None)
        yield _found(f"{entry.name} on {row.name}", check, group, (entry, same), images)


def _strongest(_: str, check: Check, group: Group, row: Row, images: Images) -> Iterator[Found]:
    """The attack on one row that is strongest by the metric of the claim."""
    best, attacks = strongest(group, row, check, images)
    if best is not None:
        same = None if group.baseline is None else strongest(group, group.baseline, check, images)[0]
        among = f"strongest of {attacks} attacks" if attacks > 1 else "the only attack"
        among += " among those that ignore it" if check.adversary == "naive" else ""
        where = f"{best.name}, {among}, on {row.name}"
        yield _found(where, check, group, (best, same), images)


def strongest(group: Group, row: Row, check: Check, images: Images) -> tuple[AttackEntry | None, int]:
    """The one attack of a row that is strongest by the metric of a claim, and of how many.

    As in the verdicts, of equal ones that which leaks more by the ranking metric. An attack that lacks images
    which another one has stands back: its number would be of other images.
    """
    seeing = [
        entry
        for entry in row.attacks
        if entry.number in images
        and not entry.floor
        and (check.adversary != "naive" or entry.adversary == "naive")
        and values(images[entry.number], str(check.metric)).size
    ]
    most = max((len(images[entry.number]) for entry in seeing), default=0)
    full = [entry for entry in seeing if len(images[entry.number]) == most]

    def order(entry: AttackEntry) -> tuple[float, float, str]:
        mean, leak = (
            direction(name) * float(known.mean())
            if (known := values(images[entry.number], name)).size
            else 0.0
            for name in (str(check.metric), group.rank)
        )
        return -mean, -leak, entry.name

    return min(full, key=order, default=None), len(seeing)


def column(frame: pd.DataFrame, metric: str) -> Floats:
    """A metric of some images, ``[images]``, NaN where it is missing."""
    if metric != "success":
        return frame[metric].to_numpy(dtype=float)
    psnr = frame["psnr"].to_numpy(dtype=float)
    success: Floats = np.where(np.isnan(psnr), np.nan, psnr > SUCCESS_PSNR)
    return success


def values(frame: pd.DataFrame, metric: str) -> Floats:
    """The same without the missing ones."""
    found = column(frame, metric)
    return found[np.isfinite(found)]


def _found(
    where: str, check: Check, group: Group, pair: tuple[AttackEntry, AttackEntry | None], images: Images
) -> Found:
    own, undefended = pair
    metric = str(check.metric)
    setting = f"{group.channel}, {group.dataset} {group.model} {group.checkpoint}, B = {group.batch_size}"
    return Found(
        where=f"{where}, {setting}",
        value=_interval(own, metric, images),
        seeds=_seeds(images.get(own.number), metric),
        undefended=NOTHING if undefended is None else _interval(undefended, metric, images),
        nearest=group.terms.nearest,
    )


def _interval(entry: AttackEntry, metric: str, images: Images) -> Interval:
    frame = images.get(entry.number)
    if metric not in SHARES or frame is None:
        return entry.scores[metric]
    return share_interval(column(frame, metric), frame["cluster"].to_numpy(), frame["seed"].to_numpy())


def _seeds(frame: pd.DataFrame | None, metric: str) -> tuple[float, ...]:
    if metric not in SHARES or frame is None:
        return ()
    means = frame.assign(value=column(frame, metric)).groupby("seed")["value"].mean().dropna()
    return tuple(float(mean) for mean in means)
